"""The pytest plugin: a broker and a payment provider as fixtures, topics by a mark, faults gone after the test.

Owns: fixtures, the mark, options, what a failed test's report says of its broker. Must not know: the broker's inside.

pytest loads this module in every run of an environment that has Tallystick, so that it imports the broker only once a
test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest

from tallystick.testing.topics_mark import MARK, MARK_LINE, wanted_topics

if TYPE_CHECKING:
    from tallystick.broker import LocalBroker
    from tallystick.broker.control.faults import Faults
    from tallystick.pipeline import App
    from tallystick.sandbox import InProcessSandbox
    from tallystick.testing.app_driver import AppTestDriver

Scope = Literal["session", "package", "module", "class", "function"]

_KINDS: Final = ("child", "in-process")
_SCOPES: Final = ("session", "package", "module", "class", "function")
_LOG_CHARACTERS: Final = 4_000

_shared = pytest.StashKey[list["LocalBroker"]]()
_used = pytest.StashKey[dict["LocalBroker", int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tallystick", "the embedded Kafka broker")
    group.addoption(
        "--tallystick-broker", choices=_KINDS, help="where brokers run: in a child process, or in a thread of this one"
    )
    parser.addini("tallystick_broker", f"where brokers run: {' or '.join(_KINDS)}", default="")
    parser.addini(
        "tallystick_broker_scope", f"of the fixture tallystick_broker: {', '.join(_SCOPES)}", default="session"
    )
    parser.addini("tallystick_broker_settings", "name=value under Apache Kafka's names, one a line", type="linelist")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARK_LINE)
    config.stash[_shared] = []


def _scope(fixture_name: str, config: pytest.Config) -> Scope:  # noqa: ARG001 - pytest's signature
    scope: Scope = config.getini("tallystick_broker_scope")
    if scope not in _SCOPES:
        raise pytest.UsageError(f"tallystick_broker_scope = {scope} is none of {', '.join(_SCOPES)}")
    return scope


def _made(config: pytest.Config, *, usual: str) -> LocalBroker:
    from tallystick.broker import EmbeddedBroker, InProcessBroker

    kind = config.getoption("--tallystick-broker") or config.getini("tallystick_broker") or usual
    if kind not in _KINDS:
        raise pytest.UsageError(f"tallystick_broker = {kind} is none of {', '.join(_KINDS)}")
    settings = dict(_setting(line) for line in config.getini("tallystick_broker_settings"))
    return EmbeddedBroker(settings=settings) if kind == "child" else InProcessBroker(settings=settings)


def _setting(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals:
        raise pytest.UsageError(f"tallystick_broker_settings: {line!r} is not name=value")
    return name.strip(), value.strip()


@pytest.fixture(scope=_scope)
def tallystick_broker(pytestconfig: pytest.Config) -> Iterator[LocalBroker]:
    """A broker that the tests of a session share, in a child process. One that a test has killed is started again."""
    with _made(pytestconfig, usual="child") as broker:
        pytestconfig.stash[_shared].append(broker)
        yield broker
        pytestconfig.stash[_shared].remove(broker)


@pytest.fixture
def tallystick_own_broker(pytestconfig: pytest.Config) -> Iterator[LocalBroker]:
    """A broker for this test alone, in a thread of this process: to kill, to fill, to leave behind."""
    with _made(pytestconfig, usual="in-process") as broker:
        yield broker


@pytest.fixture
def tallystick_topics(request: pytest.FixtureRequest) -> Iterator[Mapping[str, str]]:
    """The topics that the test's marks ask for, fresh and empty: what the mark calls it, and its name.

    They are made on the test's own broker if it has one, and deleted after the test.
    """
    broker = _broker_of(request)
    topics = wanted_topics(request.node)
    for topic in topics:
        _delete(broker, topic.name)
        broker.create_topic(topic.name, partitions=topic.partitions, configs=topic.configs)
    yield {topic.called: topic.name for topic in topics}
    for topic in topics:
        _delete(broker, topic.name)


@pytest.fixture
def tallystick_faults(request: pytest.FixtureRequest) -> Iterator[Faults]:
    """The faults of the test's broker: none at first, and none afterwards."""
    broker = _broker_of(request)
    broker.faults.clear()
    yield broker.faults
    broker.faults.clear()


@pytest.fixture
def tallystick_app_driver() -> Iterator[Callable[..., AppTestDriver]]:
    """Makes drivers of applications, each with a broker of its own, and ends them after the test: ``(app, ...)``."""
    from tallystick.testing.app_driver import AppTestDriver

    with ExitStack() as drivers:

        def driver(app: App, **options: Any) -> AppTestDriver:
            return drivers.enter_context(AppTestDriver(app, **options))

        yield driver


@pytest.fixture
def tallystick_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessSandbox]:
    """A payment provider for this test alone, in a thread of this process; it fails when it is told to."""
    from tallystick.sandbox import InProcessSandbox

    with InProcessSandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def _tallystick_marks(request: pytest.FixtureRequest) -> None:
    """A mark is enough: the test need not name the fixture, too."""
    if request.node.get_closest_marker(MARK) is not None:
        request.getfixturevalue("tallystick_topics")


def _broker_of(request: pytest.FixtureRequest) -> LocalBroker:
    own = "tallystick_own_broker" in request.fixturenames
    broker: LocalBroker = request.getfixturevalue("tallystick_own_broker" if own else "tallystick_broker")
    return broker


def _delete(broker: LocalBroker, name: str) -> None:
    """Away with it, if it is there and the broker is."""
    from tallystick.errors import ConfigurationError

    try:
        broker.delete_topic(name)
    except ConfigurationError:
        return


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start again what the test before has killed, and note where each log ends."""
    for broker in item.config.stash[_shared]:
        if not broker.is_running:
            broker.start()
    item.stash[_used] = {broker: _log_length(broker) for broker in item.config.stash[_shared]}


def _log_length(broker: LocalBroker) -> int:
    return broker.log_path.stat().st_size if broker.log_path.exists() else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - pytest's signature
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say in a failed test's report what its broker logged meanwhile, and which faults were injected."""
    report = yield
    if report.failed and report.when == "call":
        for name in ("tallystick_broker", "tallystick_own_broker"):
            broker = getattr(item, "funcargs", {}).get(name)
            if broker is not None:
                report.sections.extend(_told(broker, since=item.stash.get(_used, {}).get(broker, 0)))
    return report


def _told(broker: LocalBroker, *, since: int) -> Iterator[tuple[str, str]]:
    with broker.log_path.open("rb") as log:
        log.seek(since)
        text = log.read().decode(errors="replace")[-_LOG_CHARACTERS:]
    if text:
        yield "Log of the broker", text
    injected = broker.faults.injected
    if injected:
        yield "Faults injected", "\n".join(str(entry) for entry in injected)
