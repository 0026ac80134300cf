"""Markers that Apache Kafka skipped are told by its own log."""

from __future__ import annotations

from pathlib import Path

from tallystick.verify.trial.skipped import log_size, skipped_markers

LINE = (
    "03:12:49.893 [TxnMarkerSenderThread-1] INFO kafka.coordinator.transaction.TransactionMarkerChannelManager - "
    "[Transaction Marker Channel Manager 1]: Couldn't find leader endpoint for partitions Set({partitions}) "
    "while trying to send transaction markers for {name}, "
    "these partitions are likely deleted already and hence can be skipped\n"
)


def test_each_transaction_is_counted_and_the_first_are_named(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(LINE.format(partitions="before-0", name="before"))
    since = log_size(log)
    with log.open("a") as file:
        file.write("03:12:49.848 [TxnMarkerSenderThread-1] WARN something else\n")
        file.writelines(LINE.format(partitions=f"t-{number}, u-0", name=f"x-{number}") for number in range(5))
    (told,) = skipped_markers(log, since=since)
    assert "5 transactions" in told
    assert "t-0, u-0 of x-0; t-1, u-0 of x-1; t-2, u-0 of x-2, and 2 more" in told
    assert "before" not in told


def test_a_log_without_such_lines_or_no_log_at_all_tells_nothing(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    assert log_size(log) == log_size(None) == 0
    assert skipped_markers(log, since=0) == skipped_markers(None, since=0) == ()
    log.write_text("03:12:49.848 WARN something else\n")
    assert skipped_markers(log, since=0) == ()
