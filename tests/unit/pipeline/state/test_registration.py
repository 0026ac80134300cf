"""What a declaration of state refuses, and what a function gets of it."""

from __future__ import annotations

import pytest
from tests.unit.pipeline.fakes import Copy, record

from tallystick.errors import ConfigurationError
from tallystick.pipeline import App, Context, Guarantee, Store, Topic
from tallystick.pipeline.starts import TopicFacts
from tallystick.pipeline.state import co_partitioned

SOURCE = Topic("in", bytes)
COUNTS = Store("counts", key=str, value=int)


def nothing(_value: bytes, _context: Context) -> None:
    """Writes nothing."""


def test_a_processor_with_state_is_refused() -> None:
    """Rule 25: a replay finds the inbox row and calls nothing, so it would skip the change of state."""
    with pytest.raises(ConfigurationError, match="rule 25"):
        App("shop").add("charge", [SOURCE], factory=Copy, state=[COUNTS])


@pytest.mark.parametrize("guarantee", [Guarantee.AT_LEAST_ONCE, Guarantee.AT_MOST_ONCE])
def test_state_needs_exactly_once(guarantee: Guarantee) -> None:
    with pytest.raises(ConfigurationError, match="would change it twice"):
        App("shop", guarantee=guarantee).step(source=SOURCE, state=[COUNTS])(nothing)


def test_two_stores_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="two stores"):
        App("shop").step(source=SOURCE, state=[COUNTS, Store("counts", key=int, value=int)])(nothing)


def test_a_step_without_state_has_none_to_give() -> None:
    with pytest.raises(ConfigurationError, match="declares no state"):
        Context.of(record(0), "count").state(COUNTS)


def test_sources_with_different_numbers_of_partitions_are_refused() -> None:
    assert co_partitioned("join", {"a": TopicFacts("1", 4), "b": TopicFacts("2", 4)}) == 4
    with pytest.raises(ConfigurationError, match=r"\{'a': 4, 'b': 6\}"):
        co_partitioned("join", {"a": TopicFacts("1", 4), "b": TopicFacts("2", 6)})
