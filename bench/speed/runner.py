"""Runs measures on peers in turn, so that a machine that slows down slows all of them.

Owns: the order, the rounds, who is started when. Must not know: what a measure does, how figures are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, TypeVar

from bench.speed.measure import Measure
from bench.speed.peers import PEERS, processor_s
from bench.speed.site import Site

T = TypeVar("T")

Figure = tuple[str, str, str]
"""Measure, unit, peer."""

BROKER_S: Final = "processor s of the broker"
"""Measured beside what a measure says itself: it tells of the broker alone, where the client is the bound, and hardly
moves with what else runs on the machine."""


class Runner:
    """``figures`` has one value for each round. ``tell`` is called with what begins."""

    def __init__(self, peers: Sequence[str], *, rounds: int, warm_up: int, tell: Callable[[str], None]) -> None:
        self._peers = list(peers)
        self._rounds = rounds
        self._warm_up = warm_up
        self._tell = tell
        self.figures: dict[Figure, list[float]] = {}

    def run(self, measures: Sequence[Measure]) -> None:
        """First the measures that share a broker, then those with one of their own."""
        shared = [measure for measure in measures if not measure.alone]
        if shared:
            with ExitStack() as stack:
                sites = [stack.enter_context(_site(name)) for name in self._peers]
                for measure in shared:
                    for number in range(-self._warm_up, self._rounds):
                        for site in _turned([site for site in sites if site.name not in measure.without], number):
                            self._run(measure, site, number)
        for measure in measures:
            if measure.alone:
                for number in range(self._rounds):
                    for name in _turned([name for name in self._peers if name not in measure.without], number):
                        with _site(name) as site:
                            self._run(measure, site, number)

    def _run(self, measure: Measure, site: Site, number: int) -> None:
        self._tell(f"{measure.title}: {site.name}, {f'round {number + 1}' if number >= 0 else 'to warm up'}")
        if measure.alone:
            found = dict(measure.run(site))
        else:
            before = processor_s(site.peer.pid)
            found = dict(measure.run(site))
            found[BROKER_S] = processor_s(site.peer.pid) - before
        for unit, figure in found.items():
            if number >= 0:
                self.figures.setdefault((measure.title, unit, site.name), []).append(figure)


def _turned(of: Sequence[T], number: int) -> list[T]:
    """Each round begins with another one."""
    first = number % len(of)
    return [*of[first:], *of[:first]]


@contextmanager
def _site(name: str) -> Iterator[Site]:
    peer = PEERS[name]()
    try:
        peer.start()
        yield Site(name, peer)
    finally:
        peer.close()
