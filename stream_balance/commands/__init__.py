"""Commands: one module each. They read flags, call the service, print. No logic that a test of the core would miss."""
