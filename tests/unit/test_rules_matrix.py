"""Every rule is held by a test, and the page that says so is the one that the tests make."""

from __future__ import annotations

from tools.rules_matrix import EXCEPTIONS, PAGE, blanks, page, places_of, rules


def test_every_rule_is_held_by_a_test_or_is_a_known_exception() -> None:
    assert blanks() == []


def test_no_exception_is_kept_for_a_rule_that_a_test_holds() -> None:
    held = {rule.number for rule in rules() if rule.tests}
    assert held & EXCEPTIONS.keys() == set()


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tools.rules_matrix"


def test_what_a_test_runs_on_follows_from_its_fixtures() -> None:
    places = {held.name: held.places for rule in rules() for held in rule.tests}
    assert places["test_an_id_is_the_same_for_ever"] == ("pure",)
    assert places["test_a_late_end_of_one_transaction_does_not_end_the_next"] == ("embedded", "Apache Kafka")
    assert "PostgreSQL" in places["test_kills_at_every_point_of_cycle_and_inbox_leave_one_row_for_each_event"]


def test_a_local_name_is_no_fixture_and_a_fixture_that_extends_one_of_its_name_runs_where_that_runs() -> None:
    places = {held.name: held.places for rule in rules() for held in rule.tests}
    assert places["test_a_provider_that_never_answers_keeps_no_consumer_from_its_work"] == ("embedded", "SQLite")
    assert places["test_a_commit_whose_answer_is_lost_is_settled_by_repeating_the_insert"] == ("PostgreSQL",)
    extends = (
        "tests/contract/test_boundary_outbox_retention.py",
        "test_what_was_published_before_goes_and_what_was_not_published_stays",
    )
    assert places_of(*extends) == ("SQLite", "PostgreSQL")
