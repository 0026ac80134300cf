"""Apache Kafka's start, as far as it needs no Java."""

from __future__ import annotations

from tallystick.servers.apache_kafka import encode_cluster_id


def test_a_cluster_id_never_looks_like_an_option() -> None:
    starts = {encode_cluster_id(bytes([first]) + bytes(15))[0] for first in range(256)}
    assert len(starts) == 63
    assert "-" not in starts


def test_a_cluster_id_is_22_characters_of_url_safe_base64() -> None:
    assert encode_cluster_id(bytes(range(16))) == "AAECAwQFBgcICQoLDA0ODw"
