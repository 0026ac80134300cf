"""The commands that look at a running cluster and mend it: ``lag``, ``groups``, ``topics``, ``txn``."""
