"""Compaction of a log (``cleanup.policy=compact``): of each key the newest record stays.

Owns: what is due, what stays, and the work, in small steps. Must not know: partitions, the loop, when it is time.

The rules are those of Apache Kafka's log cleaner (KIP-58, KIP-354, KIP-534): nothing from the last stable offset on,
nothing in the segment that is written to; offsets are kept, so that gaps stay; a batch that is the last of its producer
stays, empty if need be.
"""
