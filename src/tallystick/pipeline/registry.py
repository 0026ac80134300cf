"""Avro, Protobuf and JSON Schema over a schema registry: ``Registry``. Needs ``tallystick[registry]``.

Owns: the name. Must not know: how (``kafka_client.registry``).
"""

from __future__ import annotations

from tallystick.pipeline.kafka_client.registry import Registry

__all__ = ["Registry"]
