"""The pytest plugin in a user's project, with nothing configured and with everything."""

from __future__ import annotations

import os
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import tallystick

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[3]
PLUGIN = "tallystick.testing.plugin"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project of a user: no other plugin, no configuration."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(tallystick.__file__).parents[1])]))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", PLUGIN, "-p", "no:cacheprovider", "-Werror", *arguments, timeout=120)


def test_it_is_loaded_by_its_entry_point() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert declared == {PLUGIN: PLUGIN}
    assert import_module(declared[PLUGIN]).pytest_addoption


def test_a_run_that_needs_no_broker_imports_none(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        def test_nothing_is_loaded():
            heavy = {"msgspec", "kio", "structlog", "confluent_kafka", "asyncio"}
            assert not heavy & set(sys.modules)
            assert not [name for name in sys.modules if name.startswith("tallystick.broker")]
        """
    )
    run(project).assert_outcomes(passed=1)


def test_a_session_shares_a_broker_and_each_test_has_fresh_topics(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from confluent_kafka import Consumer, Producer
        from confluent_kafka.admin import AdminClient

        seen = []

        def partitions(broker, topic):
            found = AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=20).topics
            return len(found[topic].partitions) if topic in found else 0

        def send_and_count(broker, topic):
            producer = Producer({"bootstrap.servers": broker.bootstrap})
            producer.produce(topic, b"x", partition=0)
            assert producer.flush(20) == 0
            from confluent_kafka import TopicPartition
            consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g"})
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
            consumer.close()
            return high

        @pytest.mark.tallystick_topics("orders", "payments", partitions=4)
        @pytest.mark.tallystick_topics("audit", configs={"retention.ms": "1000"})
        @pytest.mark.parametrize("run", [1, 2])
        def test_topics(tallystick_broker, run):
            seen.append(tallystick_broker)
            assert [partitions(tallystick_broker, name) for name in ("orders", "payments", "audit")] == [4, 4, 4]
            assert send_and_count(tallystick_broker, "orders") == 1

        @pytest.mark.tallystick_topics("orders", unique=True)
        def test_unique(tallystick_broker, tallystick_topics):
            seen.append(tallystick_broker)
            assert tallystick_topics["orders"].startswith("orders-")
            assert partitions(tallystick_broker, tallystick_topics["orders"]) == 4

        def test_afterwards(tallystick_broker):
            assert len({id(broker) for broker in [*seen, tallystick_broker]}) == 1
            assert type(tallystick_broker).__name__ == "EmbeddedBroker"
            assert partitions(tallystick_broker, "orders") == 0
        """
    )
    run(project).assert_outcomes(passed=4)


def test_a_mark_alone_makes_topics_on_the_broker_that_the_test_uses(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from confluent_kafka.admin import AdminClient

        @pytest.mark.tallystick_topics("orders", partitions=2)
        class TestOrders:
            def test_own(self, tallystick_own_broker):
                assert type(tallystick_own_broker).__name__ == "InProcessBroker"
                admin = AdminClient({"bootstrap.servers": tallystick_own_broker.bootstrap})
                assert len(admin.list_topics(timeout=20).topics["orders"].partitions) == 2

            @pytest.mark.tallystick_topics("orders", partitions=3)
            def test_the_nearest_mark_decides(self, tallystick_own_broker):
                admin = AdminClient({"bootstrap.servers": tallystick_own_broker.bootstrap})
                assert len(admin.list_topics(timeout=20).topics["orders"].partitions) == 3
        """
    )
    run(project, "--strict-markers").assert_outcomes(passed=2)


def test_faults_are_gone_after_the_test_and_a_killed_broker_is_back_for_the_next(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import socket
        from tallystick.broker.faults import Cut, Fault

        def is_alive(broker):
            with socket.create_connection((broker.host, broker.port), 10) as connection:
                connection.sendall(bytes.fromhex("0000000a 0012 0000 00000001 0000"))
                try:
                    return len(connection.recv(4)) == 4
                except ConnectionResetError:
                    return False

        def test_1_cut(tallystick_broker, tallystick_faults):
            tallystick_faults.add(Fault(Cut(), times=None))
            assert not is_alive(tallystick_broker)

        def test_2_no_more(tallystick_broker):
            assert is_alive(tallystick_broker)
            assert tallystick_broker.faults.injected == ()

        def test_3_kill(tallystick_broker):
            tallystick_broker.kill()

        def test_4_back(tallystick_broker):
            assert is_alive(tallystick_broker)
        """
    )
    run(project).assert_outcomes(passed=4)


def test_a_failed_test_tells_what_its_broker_logged_meanwhile_and_what_was_injected(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import socket
        from tallystick.broker.faults import Cut, Fault

        def ask(broker, api_key):
            with socket.create_connection((broker.host, broker.port), 10) as connection:
                connection.sendall(bytes.fromhex(f"0000000a {api_key} 0000 00000001 0000"))
                connection.recv(4)

        def test_1_before(tallystick_broker):
            ask(tallystick_broker, "7ffe")

        def test_2_fails(tallystick_broker, tallystick_faults):
            tallystick_faults.add(Fault(Cut("after"), name="bad luck"))
            ask(tallystick_broker, "7fff")
            ask(tallystick_broker, "0012")
            raise AssertionError
        """
    )
    result = run(project)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*Log of the broker*", "*32767*unsupported*", "*Faults injected*", "*bad luck*"])
    assert "32766" not in result.stdout.str()


def test_kind_scope_and_settings_are_configured(project: pytest.Pytester) -> None:
    project.makeini(
        """
        [pytest]
        tallystick_broker = in-process
        tallystick_broker_scope = function
        tallystick_broker_settings =
            num.partitions = 7
            auto.create.topics.enable=false
        """
    )
    project.makepyfile(
        """
        import pytest
        from confluent_kafka.admin import AdminClient

        seen = []

        @pytest.mark.tallystick_topics("orders")
        @pytest.mark.parametrize("run", [1, 2])
        def test_configured(tallystick_broker, run):
            assert type(tallystick_broker).__name__ == "InProcessBroker"
            assert tallystick_broker.data not in seen
            seen.append(tallystick_broker.data)
            admin = AdminClient({"bootstrap.servers": tallystick_broker.bootstrap})
            assert len(admin.list_topics(timeout=20).topics["orders"].partitions) == 7

        """
    )
    run(project).assert_outcomes(passed=2)
    overridden = run(project, "--tallystick-broker", "child")
    overridden.assert_outcomes(failed=2)
    overridden.stdout.fnmatch_lines(["*EmbeddedBroker*InProcessBroker*"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tallystick_broker = docker", "*docker is none of child, in-process*"),
        ("tallystick_broker_scope = galaxy", "*galaxy is none of session*"),
        ("tallystick_broker_settings = num.partitions", "*is not name=value*"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_told(project: pytest.Pytester, line: str, said: str) -> None:
    project.makeini(f"[pytest]\n{line}\n")
    project.makepyfile("def test_it(tallystick_broker): pass")
    result = run(project)
    assert result.ret != 0
    assert said.strip("*").replace("*", "") in result.stdout.str() + result.stderr.str()


def test_workers_of_xdist_have_brokers_of_their_own(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.mark.tallystick_topics("orders")
        @pytest.mark.parametrize("run", range(6))
        def test_it(tallystick_broker, run):
            pass
        """
    )
    run(project, "-p", "xdist", "-n", "2").assert_outcomes(passed=6)
