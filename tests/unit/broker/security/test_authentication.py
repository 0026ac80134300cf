"""The phases of a connection: what is answered when, who it is, and when it ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.broker.security.authentication import (
    API_VERSIONS,
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
    Authentication,
    Phase,
)
from tallystick.broker.security.mechanism import AuthenticationFailed, Step
from tallystick.broker.security.plain import PlainServer
from tallystick.broker.security.principal import ANONYMOUS, user
from tallystick.wire.errors import ErrorCode

PRODUCE = 0
USERS = {"alice": "a", "bob": "b"}


class TwoSteps:
    """Asks back once, and then lets alice in."""

    def __init__(self) -> None:
        self.asked = False

    def step(self, token: bytes) -> Step:
        if token == b"bad":
            raise AuthenticationFailed("bad")
        if not self.asked:
            self.asked = True
            return Step(b"who?")
        return Step(b"welcome", principal=user("alice"))


def authentication(*, session_ms: int = 0) -> Authentication:
    plain = PlainServer(lambda name, password: USERS.get(name) == password)
    return Authentication({"PLAIN": lambda: plain, "TWO": TwoSteps}, session_ms=session_ms)


def let_in(state: Authentication, *, name: str = "alice", now_ms: int = 0) -> ErrorCode:
    chosen = state.handshake("PLAIN", raw=False)
    if chosen.error is not ErrorCode.none:
        return chosen.error
    return state.authenticate(f"\0{name}\0{USERS[name]}".encode(), now_ms=now_ms).error


def test_before_it_has_a_name_a_connection_may_only_say_who_it_is() -> None:
    state = authentication()
    assert {key for key in range(100) if state.admits(key, now_ms=0)} == {
        API_VERSIONS,
        SASL_HANDSHAKE,
        SASL_AUTHENTICATE,
    }
    assert state.principal == ANONYMOUS
    state.handshake("TWO", raw=False)
    assert {key for key in range(100) if state.admits(key, now_ms=0)} == {API_VERSIONS, SASL_AUTHENTICATE}
    assert state.authenticate(b"", now_ms=0).token == b"who?"
    assert state.principal == ANONYMOUS
    assert not state.admits(PRODUCE, now_ms=0)
    assert state.authenticate(b"", now_ms=0).token == b"welcome"
    assert state.principal == user("alice")
    assert all(state.admits(key, now_ms=10**15) for key in range(100))


def test_a_mechanism_that_is_not_offered_is_named_and_ends_it() -> None:
    state = authentication()
    assert state.handshake("GSSAPI", raw=False).error is ErrorCode.unsupported_sasl_mechanism
    assert state.has_failed
    assert not any(state.admits(key, now_ms=0) for key in range(100))


@pytest.mark.parametrize("token", [b"\0alice\0b", b"\0carol\0a", b"alice", b"\0\0", b"\xff", b"bob\0alice\0a"])
def test_a_refused_token_ends_it(token: bytes) -> None:
    state = authentication()
    state.handshake("PLAIN", raw=False)
    assert state.authenticate(token, now_ms=0).error is ErrorCode.sasl_authentication_failed
    assert state.has_failed
    assert state.principal == ANONYMOUS
    assert state.authenticate(b"\0alice\0a", now_ms=0).error is ErrorCode.illegal_sasl_state


def test_a_token_before_the_mechanism_is_answered_and_changes_nothing() -> None:
    state = authentication()
    assert state.authenticate(b"\0alice\0a", now_ms=0).error is ErrorCode.illegal_sasl_state
    assert let_in(state) is ErrorCode.none


def test_a_second_handshake_on_a_connection_that_need_not_is_refused_and_it_stays() -> None:
    state = authentication()
    let_in(state)
    assert state.handshake("PLAIN", raw=False).error is ErrorCode.illegal_sasl_state
    assert state.principal == user("alice")
    assert state.admits(PRODUCE, now_ms=0)


def test_a_session_ends_at_its_time_and_another_proof_prolongs_it() -> None:
    state = authentication(session_ms=1_000)
    let_in(state, now_ms=5_000)
    assert state.admits(PRODUCE, now_ms=5_999)
    assert not state.admits(PRODUCE, now_ms=6_000)
    assert state.admits(SASL_HANDSHAKE, now_ms=6_000)
    assert state.handshake("PLAIN", raw=False).error is ErrorCode.none
    assert not state.admits(PRODUCE, now_ms=5_999), "nothing else is answered until it has proved itself again"
    reply = state.authenticate(b"\0alice\0a", now_ms=6_500)
    assert (reply.error, reply.session_lifetime_ms) == (ErrorCode.none, 1_000)
    assert state.admits(PRODUCE, now_ms=7_499)
    assert not state.admits(PRODUCE, now_ms=7_500)


def test_a_connection_cannot_become_another_user_or_change_its_mechanism() -> None:
    state = authentication(session_ms=1_000)
    let_in(state)
    assert let_in(state, name="bob") is ErrorCode.sasl_authentication_failed
    assert state.has_failed
    state = authentication(session_ms=1_000)
    let_in(state)
    assert state.handshake("TWO", raw=False).error is ErrorCode.sasl_authentication_failed
    assert state.has_failed


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("handshake"), st.sampled_from(["PLAIN", "TWO", "NONE"]), st.booleans()),
            st.tuples(st.just("token"), st.sampled_from([b"\0alice\0a", b"\0bob\0b", b"\0bob\0a", b"", b"bad"])),
            st.tuples(st.just("wait"), st.integers(0, 2_000)),
        ),
        max_size=12,
    ),
    st.sampled_from([0, 1_000]),
)
def test_nobody_gets_past_it_without_a_proof(steps: list[tuple[object, ...]], session_ms: int) -> None:
    """Whatever a client sends: other requests are answered only after a token was accepted, and under its name."""
    state = authentication(session_ms=session_ms)
    now_ms, proved_ms = 0, None
    for step in steps:
        match step:
            case ("handshake", str(mechanism), bool(raw)):
                state.handshake(mechanism, raw=raw)
            case ("token", bytes(token)):
                before = state.phase
                reply = state.authenticate(token, now_ms=now_ms)
                if reply.error is ErrorCode.none and state.phase is Phase.AUTHENTICATED is not before:
                    proved_ms = now_ms
            case ("wait", int(waited_ms)):
                now_ms += waited_ms
        if state.admits(PRODUCE, now_ms=now_ms):
            assert proved_ms is not None
            assert session_ms == 0 or now_ms < proved_ms + session_ms
            assert state.principal in (user("alice"), user("bob"))
