"""The consumer group protocol (KIP-848): members heartbeat, the coordinator assigns and moves one partition at a time.

Owns: groups of that protocol, as pure state: a heartbeat is decided into a record, the record is applied. Must not
know: the classic protocol, committed offsets, sockets, clocks.
"""
