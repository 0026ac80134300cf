"""Avro, Protobuf and JSON Schema over a schema registry, with confluent-kafka's own serdes.

Owns: ``Registry``, and what its failures mean. Must not know: steps, transactions. Needs ``tallystick[registry]``.

The client keeps every schema and every id that it has met, so that only the first record of a schema waits for HTTP.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import msgspec

from tallystick.errors import ConfigurationError, RetriableError, TallystickError
from tallystick.pipeline.serdes import Serde, SerdeOfTopics

_DEFAULTS: Final = {"max.retries": 1, "timeout": 5}
"""The runtime tries again by itself, and says so."""

_BUILTIN: Final = (bytes, bytearray, memoryview)
_UNAUTHORISED: Final = frozenset({401, 403})
_TOO_MANY_REQUESTS: Final = 429

ToDict = Callable[[Any, Any], Any]


class Registry:
    """A schema registry at ``url``. ``settings`` are those of confluent-kafka's ``SchemaRegistryClient``.

    Its methods give what ``Topic(serde=...)`` takes::

        registry = Registry("http://127.0.0.1:8081")
        purchases = Topic("purchases", Purchase, serde=registry.avro(Purchase, PURCHASE_SCHEMA))

    ``options`` are those of confluent-kafka's serializer and deserializer, such as ``auto.register.schemas``. A
    registry that is away is a ``RetriableError``: the batch is tried again, and no record is blamed. One that refuses a
    schema, or us, is a ``ConfigurationError``.
    """

    def __init__(self, url: str, settings: Mapping[str, Any] | None = None) -> None:
        try:
            from confluent_kafka.schema_registry import SchemaRegistryClient
        except ImportError as error:
            raise ConfigurationError(
                f"a schema registry needs packages that are not installed: {error}",
                remedy="pip install 'tallystick[registry]'",
            ) from error
        self.url = url
        self.client = SchemaRegistryClient({**_DEFAULTS, **(settings or {}), "url": url})

    def close(self) -> None:
        """Close the connections to the registry. A later question opens new ones no more."""
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def avro(self, kind: Any, schema: str, *, options: Mapping[str, Any] | None = None) -> SerdeOfTopics:
        """Values of ``kind`` (a struct, a dataclass, a pydantic model, ``dict``) under an Avro schema, its JSON."""
        from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer

        writing, reading = _split(options)
        return _Registered(
            self.url,
            AvroSerializer(self.client, schema, _to_dict(kind), conf=writing),
            AvroDeserializer(self.client, schema, _from_dict(kind), conf=reading),
        )

    def json_schema(
        self, kind: Any, schema: str | None = None, *, options: Mapping[str, Any] | None = None
    ) -> SerdeOfTopics:
        """Values of ``kind`` under a JSON Schema; without one, the schema that follows from the type."""
        from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer

        text = _json_schema_of(kind) if schema is None else schema
        writing, reading = _split(options)
        return _Registered(
            self.url,
            JSONSerializer(text, self.client, _to_dict(kind), conf=writing),
            JSONDeserializer(text, _from_dict(kind), self.client, conf=reading),
        )

    def protobuf(self, message_type: Any, *, options: Mapping[str, Any] | None = None) -> SerdeOfTopics:
        """Messages of a class that ``protoc`` made."""
        from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer

        writing, reading = _split(options)
        return _Registered(
            self.url,
            ProtobufSerializer(message_type, self.client, writing),
            ProtobufDeserializer(message_type, reading, self.client),
        )


class _Registered:
    """confluent-kafka's pair of callables, for any topic."""

    def __init__(self, url: str, serializer: Any, deserializer: Any) -> None:
        self._url = url
        self._serializer = serializer
        self._deserializer = deserializer

    def of_topic(self, topic: str) -> Serde[Any]:
        return _OfTopic(self._url, self._serializer, self._deserializer, topic)


class _OfTopic:
    def __init__(self, url: str, serializer: Any, deserializer: Any, topic: str) -> None:
        from confluent_kafka.serialization import MessageField, SerializationContext

        self._url = url
        self._serializer = serializer
        self._deserializer = deserializer
        self._context = SerializationContext(topic, MessageField.VALUE)

    def encode(self, value: Any, /) -> bytes:
        return bytes(self._call(self._serializer, value, writing=True))

    def decode(self, raw: bytes, /) -> Any:
        return self._call(self._deserializer, raw, writing=False)

    def _call(self, serde: Callable[[Any, Any], Any], value: Any, *, writing: bool) -> Any:
        try:
            return serde(value, self._context)
        except Exception as error:
            ours = _ours(error, f"schema registry {self._url}, topic {self._context.topic}", writing=writing)
            if ours is None:
                raise
            raise ours from error


def _ours(error: BaseException, subject: str, *, writing: bool) -> TallystickError | None:
    """What the registry's answer, or its silence, means; None if the value is at fault."""
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SchemaRegistryError):
            status = int(cause.http_status_code)
            if status >= 500 or status == _TOO_MANY_REQUESTS or status < 0:
                return RetriableError(f"{subject} cannot answer: {cause}")
            if writing or status in _UNAUTHORISED:
                return ConfigurationError(f"{subject} refuses: {cause}", remedy="Correct the schema, or the rights")
            return None
        if type(cause).__module__.split(".")[0] in {"httpx", "httpx2", "httpcore", "httpcore2"}:
            return RetriableError(f"{subject} is away: {cause!r}")
        cause = cause.__cause__ or cause.__context__
    return None


def _split(options: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the serializer and of the deserializer: some are of one only."""
    given = dict(options or {})
    only_writing = {"auto.register.schemas", "normalize.schemas", "use.schema.id", "skip.known.types"}
    reading = {name: value for name, value in given.items() if name not in only_writing}
    return given, reading


def _to_dict(kind: Any) -> ToDict | None:
    if kind is dict:
        return None
    if hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_dump"):
        return lambda value, _context: value.model_dump()
    return lambda value, _context: _builtins(value)


def _builtins(value: Any) -> Any:
    """As Avro's and JSON Schema's writers take it. Bytes, decimals and times stay what they are: Avro knows them."""
    if isinstance(value, msgspec.Struct):
        return {name: _builtins(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _builtins(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: _builtins(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_builtins(one) for one in value]
    return value


def _from_dict(kind: Any) -> ToDict | None:
    if kind is dict:
        return None
    if hasattr(kind, "model_validate"):
        return lambda value, _context: kind.model_validate(value)
    return lambda value, _context: msgspec.convert(value, kind)


def _json_schema_of(kind: Any) -> str:
    if hasattr(kind, "model_json_schema"):
        return json.dumps(kind.model_json_schema())
    (schema,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    name = getattr(kind, "__name__", "value")
    return json.dumps({"title": name, **schema, "$defs": components})
