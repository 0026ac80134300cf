"""The classic group protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup; the members assign among themselves.

Owns: groups of that protocol. Must not know: KIP-848, committed offsets.
"""
