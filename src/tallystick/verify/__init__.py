"""Workloads, fault injection and an independent oracle, for any cluster that speaks Kafka's protocol.

Owns: what proves the guarantees. ``verify.oracle`` knows the ground and a plain consumer only; the rest drives the
product as a user would, through its command line and its public names.
"""
