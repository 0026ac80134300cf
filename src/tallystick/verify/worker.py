"""``python -m tallystick.verify.worker``: one worker process of a workload, configured by the environment.

Owns: nothing but the start; it is the public ``run_worker`` that runs.
"""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Final

import msgspec

from tallystick.errors import ConfigurationError, FencedError
from tallystick.pipeline import WorkerConfig, run_worker
from tallystick.pipeline.worker_main import Exit, end
from tallystick.verify.workloads import WorkloadSettings, build_app

ENV_PLACE: Final = "TALLYSTICK_WORKLOAD_PLACE"


class WorkerPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where one worker runs; crosses to it as JSON in ``TALLYSTICK_WORKLOAD_PLACE``."""

    bootstrap: str
    slot: str
    batch_records: int
    stats_dir: str
    lanes: int = 1
    consumer_config: dict[str, str | int] = {}
    producer_config: dict[str, str | int] = {}

    def to_environment(self) -> dict[str, str]:
        return {ENV_PLACE: msgspec.json.encode(self).decode()}


def main() -> int:
    """Run until SIGTERM. The exit code says, as that of any worker, whether a newer owner of the slot was met."""
    try:
        place = msgspec.json.decode(os.environ[ENV_PLACE], type=WorkerPlace)
    except (KeyError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"{ENV_PLACE} holds no place: {error!r}") from error
    settings = WorkloadSettings.from_environment(os.environ)
    config = WorkerConfig(
        bootstrap=place.bootstrap,
        slot=place.slot,
        batch_records=place.batch_records,
        commit_interval_ms=50,
        lanes=place.lanes,
        consumer_config=place.consumer_config,
        producer_config=place.producer_config,
        stats_dir=Path(place.stats_dir),
        state_dir=None if settings.state_dir is None else Path(settings.state_dir),
    )
    try:
        run_worker(build_app(settings), config)
    except FencedError:
        traceback.print_exc()
        return Exit.FENCED
    return Exit.DONE


if __name__ == "__main__":
    end(main())
