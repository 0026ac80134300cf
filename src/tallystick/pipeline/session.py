"""How long the broker lets a member be silent, under the consumer protocol (KIP-848), where it is the broker's to say.

Owns: the refusal of a transaction that may outlive its member (rule 4). Must not know: the loop. Under the classic
protocol both timeouts are the client's own, and ``settings`` compares them without a broker.
"""

from __future__ import annotations

import structlog

from tallystick.errors import ConfigurationError
from tallystick.pipeline.kafka_client import Cluster
from tallystick.pipeline.patience import Patience

log = structlog.get_logger(__name__)


def check_session(group: str, transaction_timeout_ms: int, cluster: Cluster, patience: Patience) -> None:
    """``ConfigurationError`` unless a transaction times out before its member does.

    A cluster that doesn't tell is gone on with: whoever has no right to look at settings may work all the same.
    """
    session_ms = patience.call("session timeout", lambda: cluster.session_timeout_ms(group))
    if session_ms is None:
        log.warning("session timeout is not known", group=group, transaction_timeout_ms=transaction_timeout_ms)
    elif transaction_timeout_ms >= session_ms:
        raise ConfigurationError(
            f"transaction.timeout.ms={transaction_timeout_ms} is not below consumer.session.timeout.ms={session_ms}, "
            f"which the broker has for group {group!r}",
            rule=4,
            remedy="Lower the first, or raise the second (or group.consumer.session.timeout.ms, which is the broker's)",
        )
