"""Whatever fails and whoever dies between two steps: truth and ledger agree, and nothing is charged twice.

``make test`` runs thirty schedules, ``make test-long`` five hundred and more; a failure prints how to repeat it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.simulation.effects import world as worlds
from tests.simulation.effects.database import SqliteFiles
from tests.simulation.effects.network import Network, Troubles, Violation
from tests.simulation.effects.runs import FIRST_SEED, SCHEDULES, run
from tests.simulation.effects.world import KILL_POINTS

from tallystick import killpoints
from tallystick.boundary import ChargeRequest, LookUp, Outcome, StripeLike
from tallystick.boundary.effect_ledger import outcomes
from tallystick.boundary.effect_ledger.suspense import Suspense
from tallystick.boundary.effects import Event
from tallystick.boundary.provider import OutcomeKind
from tallystick.boundary.providers import adyen_like, stripe_like
from tallystick.boundary.webhooks import WebhookEvent, WebhookStore
from tallystick.sandbox.faults import Fault

MUTANT_SEEDS = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SqliteFiles:
    return SqliteFiles(tmp_path_factory.mktemp("effects"))


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SCHEDULES))
def test_truth_and_ledger_agree(files: SqliteFiles, seed: int) -> None:
    with files.opened() as engine:
        run(engine, seed)


def test_a_seed_is_the_same_schedule_again(files: SqliteFiles) -> None:
    seen = []
    for _ in range(2):
        with files.opened() as engine:
            world = run(engine, 7)
            attempts = [(each.state, each.provider_object_id, each.times_sent) for each in world.ledger.attempts()]
            seen.append((world.trace, world.network.posts, attempts, world.sandbox.met))
    assert seen[0] == seen[1]


def test_every_kill_point_of_the_boundary_is_among_those_that_kill() -> None:
    declared = {name for name in killpoints.declared() if name.partition(".")[0] in ("effect", "webhook")}
    assert set(KILL_POINTS) == declared


# -- the proof proves something: each of these breaks a rule, and some schedule finds it


def a_new_key_for_each_send(patch: pytest.MonkeyPatch) -> None:
    sends = iter(range(10**9))
    for adapter in (stripe_like.StripeLike, adyen_like.AdyenLike):
        charge: Callable[[Any, ChargeRequest], Any] = adapter.charge

        async def mutated(self: Any, request: ChargeRequest, charge: Any = charge) -> Outcome:
            outcome: Outcome = await charge(
                self, replace(request, provider_key=f"{next(sends):08}{request.provider_key[8:]}")
            )
            return outcome

        patch.setattr(adapter, "charge", mutated)
    patch.setattr(Network, "_check", lambda *_: None)


def unknown_means_failed(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(outcomes.EVENT_OF, OutcomeKind.UNKNOWN, Event.DECLINE)


def keys_are_believed_in_for_too_long(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(worlds, "WINDOWS", {shape: 10 * window for shape, window in worlds.WINDOWS.items()})


def an_incomplete_listing_is_believed(patch: pytest.MonkeyPatch) -> None:
    for adapter in (stripe_like.StripeLike, adyen_like.AdyenLike):
        look_up: Any = adapter.look_up

        async def mutated(self: Any, request: Any, look_up: Any = look_up) -> LookUp:
            found: LookUp = await look_up(self, request)
            return replace(found, complete=True)

        patch.setattr(adapter, "look_up", mutated)


def a_webhook_that_failed_is_done(patch: pytest.MonkeyPatch) -> None:
    def postpone(self: WebhookStore, event: WebhookEvent, error: str, *, pause_ms: int) -> None:
        with self._engine.begin() as connection:
            self.finish(connection, event, "failed")

    patch.setattr(WebhookStore, "postpone", postpone)
    patch.setattr(StripeLike, "look_up", _nothing_is_listed)


async def _nothing_is_listed(self: object, request: object) -> LookUp:
    return LookUp((), complete=False)


def a_late_success_is_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Suspense, "keep", lambda *_: False)


NOBODY_TELLS = {"webhook_losses": 1.0, "late": False}
STORED_500 = {**NOBODY_TELLS, "shape": "stripe-v1", "faults": {Fault.ERROR_500_STORED: 0.6}, "declines": 0.0}
LATE = {
    "shape": "stripe-v1",
    "late": True,
    "faults": {Fault.SLOW: 0.7},
    "jumps_ms": (),
    "troubles": Troubles(),
    "trouble_s": 75.0,
}

MUTANTS = [
    (a_new_key_for_each_send, NOBODY_TELLS),
    (unknown_means_failed, NOBODY_TELLS),
    (
        keys_are_believed_in_for_too_long,
        {**STORED_500, "faults": {}, "troubles": Troubles(lost_response=0.9), "jumps_ms": (40_000, 40_000)},
    ),
    (
        an_incomplete_listing_is_believed,
        {**STORED_500, "faults": {Fault.ERROR_500_STORED: 0.9}, "troubles": Troubles(lost_response=0.7)},
    ),
    (a_webhook_that_failed_is_done, {"webhook_losses": 0.0, "late": False, "shape": "stripe-v1"}),
    (a_late_success_is_dropped, LATE),
]
"""Each with the kind of trouble that shows it soonest; seeds are tried until one does."""


@pytest.mark.parametrize(("mutate", "trouble"), MUTANTS, ids=[mutate.__name__ for mutate, _ in MUTANTS])
def test_a_broken_rule_is_found(
    files: SqliteFiles,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Callable[[pytest.MonkeyPatch], None],
    trouble: dict[str, Any],
) -> None:
    with files.opened() as engine:
        run(engine, 0, **trouble)  # it is the mutation that is found, not the trouble
    mutate(monkeypatch)
    for seed in range(MUTANT_SEEDS):
        try:
            with files.opened() as engine:
                run(engine, seed, **trouble)
        except Violation:
            return
    pytest.fail(f"{MUTANT_SEEDS} schedules found nothing")
