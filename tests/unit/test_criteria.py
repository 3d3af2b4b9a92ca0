"""When a stage may end (rollout.md, stages): each criterion with its yes and its no."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from care_collective.rollout.criteria import Criterion, Exit, Name, Seen, judge
from care_collective.rollout.policy import Stage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
STAGES = ("internal", "percentage:10", "percentage:50", "on")


def seen(**changes: Any) -> Seen:  # noqa: ANN401
    """Numbers with which every stage may end."""
    sound: dict[str, Any] = {
        "now": NOW,
        "since": NOW - timedelta(days=60),
        "attempts": 1000,
        "successes": 1000,
        "p95_ms": 499.0,
        "violations": 0,
        "violations_at": NOW,
    }
    return Seen(**sound | changes)


def asked(stage: str, name: Name, **changes: Any) -> Criterion:  # noqa: ANN401
    """One criterion of a stage."""
    (found,) = [one for one in judge(Stage.parse(stage), seen(**changes)).criteria if one.name == name]
    return found


def exit_of(stage: str, **changes: Any) -> Exit:  # noqa: ANN401
    """Whether a stage may end."""
    return judge(Stage.parse(stage), seen(**changes))


@pytest.mark.parametrize("stage", ["off", *STAGES])
def test_with_sound_numbers_every_stage_may_end_and_says_what_follows(stage: str) -> None:
    found = exit_of(stage)
    assert (found.may_go_on, {one.state for one in found.criteria}) == (True, {"met"})
    following = dict(zip(("off", *STAGES), (*STAGES, None), strict=True))
    assert (found.stage, found.following) == (stage, following[stage])


def test_any_other_share_goes_on_to_the_next_one() -> None:
    assert [exit_of(f"percentage:{share}").following for share in (0, 5, 10, 25, 50, 75, 100)] == [
        "percentage:10", "percentage:10", "percentage:50", "percentage:50", "on", "on", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "least"),
    [("internal", 950), ("percentage:10", 950), ("percentage:49.99", 950), ("percentage:50", 970), ("on", 990)],
)
def test_more_than_so_many_must_succeed(stage: str, least: int) -> None:
    assert asked(stage, "success", successes=least + 1).state == "met"
    found = asked(stage, "success", successes=least)
    assert found.state == "not_met"
    assert f"{least} of 1000 offers in V2 succeeded ({least / 10:.1f}%)" in found.words
    assert not exit_of(stage, successes=least).may_go_on


@pytest.mark.parametrize("stage", STAGES)
def test_at_every_stage_after_off(stage: str) -> None:
    assert asked(stage, "speed", p95_ms=499.9).state == "met"
    assert asked(stage, "speed", p95_ms=500.0).state == "not_met"
    assert asked(stage, "codes", failure_codes={"rpc_error": 9, "unavailable": 9}).state == "met"
    found = asked(stage, "codes", failure_codes={"rpc_error": 10, "unavailable": 1})
    assert (found.state, "rpc_error came 10 times in 1000 attempts (1.0%)" in found.words) == ("not_met", True)
    assert asked(stage, "violations", violations=1).state == "not_met"
    assert asked(stage, "attempts", attempts=20, successes=20).state == "met"
    for wrong in ({"p95_ms": 500.0}, {"failure_codes": {"rpc_error": 10}}, {"violations": 1}):
        assert not exit_of(stage, **wrong).may_go_on


def test_few_attempts_wait_for_twice_the_usual_days_and_then_a_written_reason_will_do() -> None:
    few = {"attempts": 19, "successes": 19}
    for stage, days in (("internal", 6), ("percentage:10", 6), ("percentage:50", 14), ("on", 30)):
        early = asked(stage, "attempts", **few, since=NOW - timedelta(days=days, seconds=-1))
        late = asked(stage, "attempts", **few, since=NOW - timedelta(days=days))
        assert [(one.state, one.reason_will_do) for one in (early, late)] == [("not_met", False), ("not_met", True)]
        assert f"After {days} days a written reason will do." in early.words
    assert not exit_of("internal", **few, since=NOW - timedelta(days=5)).may_go_on
    assert exit_of("internal", **few, since=NOW - timedelta(days=6)).may_go_on


@pytest.mark.parametrize("stage", STAGES)
def test_without_attempts_there_is_no_data_and_no_reason_will_do(stage: str) -> None:
    nothing: dict[str, Any] = {"attempts": 0, "successes": 0, "p95_ms": None}
    for name in ("success", "speed", "codes"):
        assert asked(stage, name, **nothing).state == "no_data"
    assert not exit_of(stage, **nothing).may_go_on


@pytest.mark.parametrize("stage", ["off", *STAGES])
def test_rows_at_which_nobody_has_looked_are_no_data(stage: str) -> None:
    old = NOW - timedelta(seconds=61)
    assert asked(stage, "violations", violations_at=NOW - timedelta(seconds=59)).state == "met"
    assert asked(stage, "violations", violations_at=old).state == "no_data"
    assert asked(stage, "violations", violations=None, violations_at=None).state == "no_data"
    # What was found stays found, however long ago.
    assert asked(stage, "violations", violations=2, violations_at=old).state == "not_met"
    assert not exit_of(stage, violations_at=old).may_go_on


def test_off_counts_what_v1_left_unfinished_and_goes_on() -> None:
    assert "without a message: 3;" in asked("off", "orphans", orphans=3).words
    assert exit_of("off", orphans=3, attempts=0, successes=0, p95_ms=None).may_go_on
    assert not exit_of("off", violations=1).may_go_on


def test_on_asks_for_two_weeks_without_v1_and_thirty_days_more_before_it_may_retire() -> None:
    def after(**gone: float) -> list[str]:
        found = exit_of("on", last_v1_at=NOW - timedelta(**gone))
        return [asked("on", name, last_v1_at=NOW - timedelta(**gone)).state for name in ("quiet", "retire")] + [
            "may" if found.may_go_on else "may not"
        ]

    assert after(days=13, hours=23) == ["not_met", "not_met", "may not"]
    assert after(days=14) == ["met", "not_met", "may"]
    assert after(days=43, hours=23) == ["met", "not_met", "may"]
    assert after(days=44) == ["met", "met", "may"]
    # Never is since the stage began, and what V1 opened before that does not count against it.
    for last in (None, NOW - timedelta(days=400)):
        assert asked("on", "quiet", last_v1_at=last, since=NOW - timedelta(days=13)).state == "not_met"
        assert asked("on", "quiet", last_v1_at=last, since=NOW - timedelta(days=14)).state == "met"
