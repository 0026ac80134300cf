"""A copy of the data folder that a broker can start on, taken while it writes.

Owns: the cut (which files, up to which byte) and the copying. Must not know: the protocol.
"""
