"""A backup is the folder at the moment of its cut, whatever is written while it is copied."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.broker.crash_world import (
    EVERYTHING,
    TOPICS,
    State,
    World,
    check_settled,
    folders,
    recovered,
    state_of,
    world,
)
from typer.testing import CliRunner

from tallystick.broker.backup import copying
from tallystick.broker.backup.copying import FolderChanged, back_up, copy_cut
from tallystick.broker.backup.cut import REQUEST_FILE, Cut, CutFile, cut_of
from tallystick.broker.backup.producer_ids import SKIPPED
from tallystick.broker.inspection import check_folder
from tallystick.broker.transactions.records import ProducerIdsReserved
from tallystick.cli.main import app
from tallystick.errors import ConfigurationError, CorruptData, TallystickError

REPLACING = {"compact", "delete topic", "restart"}
"""Steps after which a file of an earlier cut may be another one."""


@pytest.fixture
def base() -> Iterator[Path]:
    with folders() as made:
        yield made


def cut_now(made: World) -> Cut:
    logs = (partition.log for topic in made.node.partitions.all() for partition in topic.partitions)
    return cut_of(made.folder, logs, request="now")


def without_reserved_ids(state: State) -> State:
    transactions = [record for record in state["transactions"] if not isinstance(record, ProducerIdsReserved)]
    return {**state, "transactions": transactions}


def test_a_copy_that_is_made_long_after_its_cut_is_the_state_at_the_cut(base: Path) -> None:
    taken: list[tuple[Any, Cut, State]] = []
    with world(base / "data") as made:
        for topic in TOPICS:
            made.node.partitions.create(topic, partition_count=2)
        for step in [step for step in EVERYTHING if step[0] not in REPLACING]:
            made.take(step)
            taken.append((step, cut_now(made), state_of(made.node)))
        for number, (step, cut, live) in enumerate(taken):
            copy_cut(made.folder, base / str(number), cut, online=True)
            assert not check_folder(base / str(number)).is_damaged, step
            with recovered(base / str(number)) as (found, node):
                assert without_reserved_ids(found) == without_reserved_ids(live), step
                check_settled(node)


@pytest.mark.parametrize("replace", [("compact",), ("delete topic", "b")])
def test_a_file_that_was_replaced_after_the_cut_is_noticed(base: Path, replace: tuple[Any, ...]) -> None:
    with world(base / "data") as made:
        for topic in TOPICS:
            made.node.partitions.create(topic, partition_count=2)
        made.take(("write", "t", 2, "b", 0))
        cut = cut_now(made)
        made.take(replace)
        with pytest.raises(FolderChanged):
            copy_cut(made.folder, base / "copy", cut, online=True)


class Ticks:
    """A broker's ticks in a thread, while the backup waits for its answer."""

    def __init__(self, made: World) -> None:
        self._made = made
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            self._made.node.tick()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_a_backup_begins_again_when_files_were_replaced(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(base / "data") as made:
        made.node.partitions.create("a", partition_count=1)
        cuts = [Cut("stale", (CutFile("topics/gone/0/0.log", 1, 1),)), cut_now(made)]
        monkeypatch.setattr(copying, "_asked_cut", lambda _: cuts.pop(0))
        assert back_up(made.folder, base / "copy").online
        assert not (base / "copy" / "topics" / "gone").exists()


def test_a_running_broker_answers_a_request_and_leaves_nothing_behind(base: Path) -> None:
    with world(base / "data") as made:
        made.node.partitions.create("a", partition_count=1)
        made.take(("produce", "a", 0))
        before = {path.name for path in made.folder.iterdir()}
        with Ticks(made):
            done = back_up(made.folder, base / "copy")
        assert (done.online, done.size_bytes > 0) == (True, True)
        assert {path.name for path in made.folder.iterdir()} == before


def test_a_backup_of_a_folder_at_rest_is_whole_and_skips_producer_ids(base: Path) -> None:
    with world(base / "data") as made:
        for topic in TOPICS:
            made.node.partitions.create(topic, partition_count=2)
        for step in EVERYTHING:
            made.take(step)
        live = state_of(made.node)
    assert not back_up(made.folder, base / "copy").online
    with recovered(base / "copy") as (found, node):
        assert without_reserved_ids(found) == without_reserved_ids(live)
        fresh = node.transactions.init_producer_id(None, timeout_ms=0).producer_id
    assert fresh >= SKIPPED


def test_an_interrupted_backup_is_no_data_folder(base: Path) -> None:
    with world(base / "data") as made:
        made.node.partitions.create("a", partition_count=1)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(made.folder, base / "copy", on_bytes=interrupt)
    with pytest.raises(ConfigurationError, match="no data folder"), world(base / "copy"):
        pass


def test_a_damaged_journal_is_not_copied_as_if_it_were_whole(base: Path) -> None:
    with world(base / "data") as made:
        made.node.partitions.create("a", partition_count=1)
        made.take(("write", "t", 2, "a", 0))
    file = made.folder / "coordinators.journal"
    raw = bytearray(file.read_bytes())
    raw[10] ^= 1
    file.write_bytes(raw)
    with pytest.raises(CorruptData, match="does not verify"):
        back_up(made.folder, base / "copy")


def test_a_target_that_is_taken_or_lies_in_the_folder_is_refused(base: Path) -> None:
    with world(base / "data"):
        pass
    (base / "taken").mkdir()
    (base / "taken" / "file").touch()
    with pytest.raises(ConfigurationError, match="is not empty"):
        back_up(base / "data", base / "taken")
    with pytest.raises(ConfigurationError, match="lies in the data folder"):
        back_up(base / "data", base / "data" / "copy")


def test_a_broker_that_does_not_answer_is_an_error(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "ANSWER_TIMEOUT_S", 0.05)
    with world(base / "data") as made:
        with pytest.raises(TallystickError, match="did not answer"):
            back_up(made.folder, base / "copy")
        assert not (made.folder / REQUEST_FILE).exists()


def test_the_command_says_what_it_copied_and_fails_when_the_copy_is_damaged(base: Path) -> None:
    with world(base / "data") as made:
        made.node.partitions.create("a", partition_count=1)
        for _ in range(3):
            made.take(("produce", "a", 0))
    done = CliRunner().invoke(app, ["broker", "backup", "--data", str(made.folder), "--to", str(base / "copy")])
    assert (done.exit_code, "copied of a folder at rest" in done.stdout) == (0, True), done.output
    shutil.rmtree(base / "copy")
    log = next(made.folder.glob("topics/*/0/*.log"))
    raw = bytearray(log.read_bytes())
    raw[20] ^= 1
    log.write_bytes(raw)
    done = CliRunner().invoke(app, ["broker", "backup", "--data", str(made.folder), "--to", str(base / "copy")])
    assert (done.exit_code, "is damaged" in done.output) == (1, True)
