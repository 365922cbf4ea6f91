"""A simulated shop with known true probabilities, for demos, tests and benchmarks."""
