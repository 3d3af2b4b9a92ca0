"""The rules over attempts that have been, and the reading of a CSV of them."""

import pytest

from care_collective.rollout.guard.evidence import Outcome
from care_collective.rollout.guard.replay import BadRows, read_csv, replay
from care_collective.rollout.guard.rules import RULES

HEAD = "at,version,success,code,user"


def _run(pattern: str, *, every: float = 60.0, start: float = 0.0) -> list[Outcome]:
    """Attempts a minute apart: + worked, - failed, each of another helper."""
    return [
        Outcome(
            start + n * every,
            "success" if sign == "+" else "failure",
            f"helper {n}",
            None if sign == "+" else "rpc_error",
        )
        for n, sign in enumerate(pattern)
    ]


def test_it_says_when_the_detector_would_have_tripped_and_how_late() -> None:
    found = replay(_run("+" * 50 + "-" * 4), {"detector": RULES["detector"]})
    (act,) = found.acts
    assert (act.rule, act.action, act.at) == ("detector", "rollback", 53 * 60.0)
    assert (act.delay_seconds, act.delay_attempts) == (180.0, 4)
    assert act.false is None
    assert (found.attempts, found.failures) == (54, 4)


def test_a_trip_after_which_all_goes_well_was_false_and_one_after_which_it_fails_was_not() -> None:
    false = replay(_run("+" * 50 + "----" + "+" * 100), {"detector": RULES["detector"]})
    assert [act.false for act in false.acts] == [True]
    assert false.false_trips == 1
    true = replay(_run("+" * 50 + "----" + "+-" * 50), {"detector": RULES["detector"]})
    assert true.acts[0].false is False
    assert true.false_trips == 0


def test_after_a_trip_it_begins_anew() -> None:
    assert len(replay(_run("-" * 8), {"detector": RULES["detector"]}).acts) == 2


def test_each_rule_is_judged_by_itself_and_a_warning_is_one_an_episode() -> None:
    found = replay(_run("+" * 60 + "-+" * 15, every=6.0))
    assert {act.rule for act in found.acts} == {"detector", "success", "failing", "one_code"}
    assert [act.rule for act in found.acts if act.action == "warn"] == ["failing", "one_code"]


def test_sound_attempts_make_no_rule_act() -> None:
    assert replay(_run("+" * 300)).acts == []


def test_a_csv_is_read_in_order_of_time_and_v1_is_passed_over() -> None:
    found = read_csv(
        [
            HEAD + ",duration_ms",
            "2026-03-01T10:00:00+01:00,v2,false,server_error,ann,12.5",
            "0,v2,true,,bea,",
            "1,v1,false,server_error,cid,1",
            "2,v2,false,rate_limited,dan,1",
        ]
    )
    assert [(o.at, o.kind, o.helper) for o in found] == [
        (0.0, "success", "bea"),
        (2.0, "answer", "dan"),
        (1772355600.0, "failure", "ann"),
    ]
    assert found[2].duration_ms == 12.5


def test_a_row_can_say_that_its_failure_was_shared() -> None:
    assert [o.kind for o in read_csv([HEAD + ",kind", "0,v2,false,unavailable,ann,shared"])] == ["shared"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("yesterday,v2,true,,ann", "at is a time such as"),
        ("2026-03-01T10:00:00,v2,true,,ann", "at needs its zone"),
        ("nan,v2,true,,ann", "at is a time"),
        ("0,v3,true,,ann", "version is v1 or v2, not 'v3'"),
        ("0,v2,yes,,ann", "success is true or false"),
        ("0,v2,false,,ann", "code is one of the API's codes, not ''"),
        ("0,v2,false,boom,ann", "not 'boom'"),
        ("0,v2,true,,", "user is empty"),
        ("0,v2", "success is true or false"),
    ],
)
def test_a_bad_row_is_named_with_its_line(row: str, words: str) -> None:
    with pytest.raises(BadRows) as raised:
        read_csv([HEAD, "0,v2,true,,ann", row])
    assert str(raised.value).startswith("line 3: ")
    assert words in str(raised.value)


def test_columns_that_are_missing_are_named() -> None:
    with pytest.raises(BadRows, match="success, code, user is not there"):
        read_csv(["at,version"])


def test_of_many_bad_rows_20_are_named() -> None:
    with pytest.raises(BadRows) as raised:
        read_csv([HEAD, *["x,v2,true,,ann"] * 50])
    assert len(str(raised.value).splitlines()) == 20
