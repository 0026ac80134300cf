"""Looking at a running cluster and mending it: lag, groups, transactions, topics. For ours and for Apache Kafka.

Speaks Kafka's protocol through ``tallystick.wire``, without a client library: librdkafka offers none of the requests
about transactions. Nothing here belongs to the pipeline; any application's groups and transactions are seen the same.
"""

from tallystick.operate.client_settings import ClientSettings
from tallystick.operate.cluster import Cluster

__all__ = ["ClientSettings", "Cluster"]
