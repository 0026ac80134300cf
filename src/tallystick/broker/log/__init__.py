"""What lies on disk: segments of record batches, the journal of coordinator records, the data folder, and fsync.

The log stores opaque batches; it knows their 61-byte headers and no record.
"""
