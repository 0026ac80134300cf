"""One verification: a workload under faults on a cluster, from empty topics to a verdict.

Owns: the run and everything that takes part in it. Must not know: what is right or wrong (``oracle``), how a fault is
done (``faults``).
"""
