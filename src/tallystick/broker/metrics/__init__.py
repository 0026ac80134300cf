"""What the broker tells of itself to a monitoring system: counts, and the page that shows them.

Owns: counting, the names of metrics, the HTTP listener. Must not know: how the broker does what is counted. A broker
without ``--metrics-listen`` counts nothing.
"""
