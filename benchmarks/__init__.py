"""Benchmarks: one command each; what they measured is in docs/measurements.md."""
