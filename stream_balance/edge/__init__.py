"""Edge: everything that touches the world: bytes, files, Kafka, HTTP, clocks."""
