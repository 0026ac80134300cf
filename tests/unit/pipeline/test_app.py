"""Declaring an application, and the plans a worker makes of it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from tests.unit.pipeline.fakes import Copy, record

from tallystick.errors import ConfigurationError, FatalError
from tallystick.ids import derived_id, deterministic_id
from tallystick.pipeline import (
    App,
    Context,
    Emit,
    ErrorPolicy,
    GroupProtocol,
    Guarantee,
    Poisoned,
    Topic,
    WorkerConfig,
    emit,
)
from tallystick.pipeline.topics import DecodeError
from tallystick.pipeline.worker import plans, run_worker


class Purchase(msgspec.Struct):
    amount_minor: int


SOURCE = Topic("source", Purchase, partitions=2)
TARGET = Topic("target", bytes)


def application(function: object = None, **options: object) -> App:
    app = App("shop")

    def rate(purchase: Purchase, context: Context) -> Iterator[Emit]:
        yield emit(TARGET, b"%d" % purchase.amount_minor, key="customer")
        yield emit(TARGET, context.event_id.encode(), key=context.key)

    app.step(source=SOURCE, **options)(function or rate)  # type: ignore[call-overload, arg-type]
    return app


def test_a_step_decodes_calls_and_derives_ids() -> None:
    app = application()
    (step,) = app.steps
    (outputs,) = step.factory().process([record(0, b'{"amount_minor":5}')])
    assert not isinstance(outputs, Poisoned)
    parent = record(0).event_id
    assert [(output.topic, output.key, output.value) for output in outputs] == [
        ("target", b"customer", b"5"),
        ("target", b"key", parent.encode()),
    ]
    assert [output.event_id for output in outputs] == [derived_id(parent, "rate", 0), derived_id(parent, "rate", 1)]


def test_an_output_with_an_id_of_its_own_keeps_it_and_the_others_keep_their_ordinals() -> None:
    own = deterministic_id("invoice", 1)

    def rate(purchase: Purchase, context: Context) -> list[Emit]:
        return [emit(TARGET, b"a", event_id=own), emit(TARGET, b"b")]

    (outputs,) = application(rate).steps[0].factory().process([record(0, b'{"amount_minor":5}')])
    assert not isinstance(outputs, Poisoned)
    assert [output.event_id for output in outputs] == [own, derived_id(record(0).event_id, "rate", 1)]


def test_a_record_of_another_type_is_poisoned_and_its_neighbours_are_not() -> None:
    processor = application().steps[0].factory()
    whole, broken, empty = processor.process(
        [record(0, b'{"amount_minor":5}'), record(1, b'{"amount_minor":"5"}'), record(2, b"")]
    )
    assert not isinstance(whole, Poisoned)
    for verdict in (broken, empty):
        assert isinstance(verdict, Poisoned)
        assert isinstance(verdict.cause, DecodeError)
        assert str(verdict.cause).startswith("in-0@")


def test_a_function_that_fails_is_tried_again_and_its_half_done_outputs_are_dropped() -> None:
    tries = []

    def rate(purchase: Purchase, context: Context) -> Iterator[Emit]:
        yield emit(TARGET, b"early")
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("not yet")

    (outputs,) = (
        application(rate, on_error=ErrorPolicy(tries=3)).steps[0].factory().process([record(0, b'{"amount_minor":5}')])
    )
    assert not isinstance(outputs, Poisoned)
    assert len(outputs) == 1
    assert len(tries) == 3


def test_our_own_errors_pass_a_function_by() -> None:
    def rate(purchase: Purchase, context: Context) -> None:
        raise FatalError("stop")

    with pytest.raises(FatalError):
        application(rate).steps[0].factory().process([record(0, b'{"amount_minor":5}')])


def test_a_function_that_returns_something_else_is_told_so() -> None:
    def rate(purchase: Purchase, context: Context) -> list[object]:
        return [b"bytes"]

    (verdict,) = (
        application(rate, on_error=ErrorPolicy(tries=1)).steps[0].factory().process([record(0, b'{"amount_minor":5}')])
    )
    assert isinstance(verdict, Poisoned)
    assert "emit(...)" in str(verdict.cause)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 101])
def test_a_name_that_cannot_be_part_of_a_transactional_id_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        App(name)
    with pytest.raises(ConfigurationError):
        App("shop").add(name, ["source"], Copy())


def test_two_steps_of_one_name_are_refused() -> None:
    app = application()
    with pytest.raises(ConfigurationError, match="two steps"):
        app.add("rate", ["source"], Copy())


def test_a_step_needs_one_of_processor_and_factory_and_a_source() -> None:
    app = App("shop")
    with pytest.raises(ConfigurationError, match="not both"):
        app.add("a", ["source"])
    with pytest.raises(ConfigurationError, match="not both"):
        app.add("a", ["source"], Copy(), factory=Copy)
    with pytest.raises(ConfigurationError, match="no topic"):
        app.add("a", [], Copy())


def test_a_worker_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no steps"):
        run_worker(App("shop"), WorkerConfig(bootstrap="b:1", slot="s"))


def test_a_plan_names_group_and_transactional_id_by_application_step_and_slot() -> None:
    app = application()
    app.add("book", [SOURCE, "other"], Copy(), emits=[TARGET])
    rate, book = plans(app, WorkerConfig(bootstrap="b:1", slot="s-0"))
    assert rate.consumer["group.id"] == "shop.rate"
    assert rate.consumer["group.instance.id"] == "s-0"
    assert rate.producer["transactional.id"] == "shop/shop.rate/s-0/0"
    assert rate.dead_letter_topic == "shop.rate.dead-letter"
    assert book.sources == ("source", "other")
    assert book.topics == {"source": 2, "other": None, "target": None}
    (other, _) = plans(app, WorkerConfig(bootstrap="b:1", slot="s-0", group="blue"))
    assert other.consumer["group.id"] == "blue.rate"


def test_only_exactly_once_has_transactional_ids() -> None:
    app = App("shop", guarantee=Guarantee.AT_LEAST_ONCE)
    app.add("a", ["source"], Copy())
    (plan,) = plans(app, WorkerConfig(bootstrap="b:1", slot="s-0"))
    assert "transactional.id" not in plan.producer


@pytest.mark.parametrize("setting", ["group.id", "group.instance.id", "bootstrap.servers"])
def test_what_follows_from_the_worker_is_not_a_setting(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=setting):
        plans(application(), WorkerConfig(bootstrap="b:1", slot="s", consumer_config={setting: "x"}))


def test_limits_are_checked_before_anything_starts() -> None:
    with pytest.raises(ConfigurationError, match="batch_records"):
        plans(application(), WorkerConfig(bootstrap="b:1", slot="s", batch_records=0))
    with pytest.raises(ConfigurationError, match="commit_interval_ms"):
        plans(application(), WorkerConfig(bootstrap="b:1", slot="s", commit_interval_ms=0))


def test_members_of_the_consumer_protocol_are_dynamic_and_the_slot_stays_in_the_transactional_id() -> None:
    config = WorkerConfig(bootstrap="b:1", slot="s-0", group_protocol=GroupProtocol.CONSUMER)
    (rate,) = plans(application(), config)
    assert rate.consumer["group.protocol"] == "consumer"
    assert "group.instance.id" not in rate.consumer
    assert rate.producer["transactional.id"] == "shop/shop.rate/s-0/0"
