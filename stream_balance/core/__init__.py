"""Pure core: no I/O, no clock, no global randomness, no threads, no logging."""
