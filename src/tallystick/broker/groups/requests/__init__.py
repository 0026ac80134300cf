"""What handlers ask of groups: each request checked, decided by its group, written, answered.

Owns: the drivers of both protocols and of offsets. Must not know: the protocol's encoding.
"""
