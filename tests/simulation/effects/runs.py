"""Runs a schedule and judges it, with everything in the message that a person needs to run it again."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Engine
from tests.simulation.effects.judge import judge, judge_the_end
from tests.simulation.effects.network import Violation
from tests.simulation.effects.world import Schedule, World

SCHEDULES: Final = int(os.environ.get("TALLYSTICK_EFFECT_SCHEDULES", "30"))
FIRST_SEED: Final = int(os.environ.get("TALLYSTICK_EFFECT_SEED", "0"))


def run(engine: Engine, seed: int, **changes: Any) -> World:
    """Run the schedule of a seed to its end. ``Violation`` names the seed, the schedule and what happened.

    ``changes`` replace what was drawn, where a test needs one kind of trouble.
    """
    world = World(engine, replace(Schedule.draw(seed), **changes))
    try:
        world.run()
        if not world.schedule.late:
            judge(world)
        world.heal()
        world.read_settlement()
        judge_the_end(world)
    except Violation as violation:
        told = "\n".join(world.trace)
        raise Violation(
            f"{violation}\nTALLYSTICK_EFFECT_SEED={seed} TALLYSTICK_EFFECT_SCHEDULES=1 runs it again\n"
            f"{world.schedule}\n{told}"
        ) from violation
    finally:
        world.store.close()
    return world
