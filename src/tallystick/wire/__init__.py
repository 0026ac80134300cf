"""Kafka's protocol as values: frames, headers, record batches, the error table. No I/O."""
