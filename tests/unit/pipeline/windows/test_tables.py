"""A topic's newest values at hand for a step that reads another topic."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.unit.pipeline.fakes import event_id

from tallystick.clock import ManualClock
from tallystick.errors import ConfigurationError
from tallystick.pipeline import App, Context, Emit, Record, Table, Topic, UnreadableState, emit
from tallystick.pipeline.ports import Poisoned
from tallystick.pipeline.records import Output
from tallystick.pipeline.state import Changelog, LaneState, PartitionState


class Customer(msgspec.Struct):
    country: str


ORDERS, CUSTOMERS, OUT = Topic("orders", bytes), Topic("customers", Customer), Topic("out", bytes)
TABLE = Table("customers", CUSTOMERS, key=str)


class Shop:
    """The step as an application declares it, over one partition."""

    def __init__(self, folder: Path) -> None:
        app = App("shop")

        @app.step(source=ORDERS, tables=[TABLE], emits=[OUT])
        def enrich(order: bytes, context: Context) -> Emit:
            customer = context.state(TABLE).get((context.key or b"").decode())
            return emit(OUT, order + b" " + (customer.country.encode() if customer else b"unknown"))

        (step,) = app.steps
        assert step.state is not None
        assert step.sources == ("orders", "customers")
        self.state = PartitionState(
            0, [Changelog(TABLE, "changelog")], folder / "0", clock=ManualClock(), nonce=b"nonce"
        )
        self._processor = step.state.factory(LaneState({0: self.state}, lambda _s: None, lambda _n: True))
        self._offset = 0

    def feed(self, topic: str, key: bytes | None, value: bytes | None) -> list[Output] | Poisoned:
        self._offset += 1
        record = Record(topic, 0, self._offset, key, value, (), 1_000, event_id(str(self._offset)))
        result = self._processor.process([record])[0]
        return result if isinstance(result, Poisoned) else list(result)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def texts(found: list[Output] | Poisoned) -> list[bytes]:
    assert not isinstance(found, Poisoned)
    return [one.value or b"" for one in found]


def test_a_table_holds_the_newest_value_of_a_key(shop: Shop) -> None:
    assert texts(shop.feed("orders", b"ann", b"1")) == [b"1 unknown"]
    assert texts(shop.feed("customers", b"ann", b'{"country":"IS"}')) == []
    assert texts(shop.feed("orders", b"ann", b"2")) == [b"2 IS"]
    shop.feed("customers", b"ann", b'{"country":"NO"}')
    assert texts(shop.feed("orders", b"ann", b"3")) == [b"3 NO"]


def test_a_record_without_a_value_deletes(shop: Shop) -> None:
    shop.feed("customers", b"ann", b'{"country":"IS"}')
    assert texts(shop.feed("customers", b"ann", None)) == []
    assert texts(shop.feed("orders", b"ann", b"1")) == [b"1 unknown"]


@pytest.mark.parametrize(("key", "value"), [(b"ann", b"no json"), (b"\xff", b'{"country":"IS"}'), (None, b"{}")])
def test_a_record_that_cannot_be_read_is_poisoned_and_changes_nothing(
    shop: Shop, key: bytes | None, value: bytes
) -> None:
    assert isinstance(shop.feed("customers", key, value), Poisoned)
    assert list(shop.state.view(TABLE).items()) == []


def test_a_value_that_a_newer_type_cannot_read_stops(shop: Shop) -> None:
    class Moved(msgspec.Struct):
        city: str

    shop.feed("customers", b"ann", b'{"country":"IS"}')
    raw = TABLE.encode(Customer("IS"))
    with pytest.raises(UnreadableState, match="built anew"):
        Table("customers", Topic("customers", Moved), key=str).decode(raw)


def test_a_table_is_keyed_by_what_its_topic_is_keyed_by() -> None:
    with pytest.raises(ConfigurationError, match="str or bytes"):
        Table("customers", CUSTOMERS, key=int)
