import os
import signal

from tallystick.pipeline import Emit, ExactlyOnceLoop, Record


def copy(record: Record) -> Emit:
    return Emit("copied", record.key, record.value)


loop = ExactlyOnceLoop(
    {"bootstrap.servers": os.environ["KAFKA"], "group.id": "copier", "group.instance.id": "copier-0"},
    {"transactional.id": "copier-0"},
    ["purchases"],
    handler=copy,
)
signal.signal(signal.SIGTERM, lambda *_: loop.stop())
loop.run()  # each transaction holds the outputs and the offsets of their inputs, or is aborted
