"""The rules of the guard, each with a yes and a no, by the one judge."""

from pathlib import Path

import msgspec
import pytest

from care_collective.rollout.guard.detector import Detector
from care_collective.rollout.guard.evidence import Complaints, Evidence, Outcome, Probe, Violations
from care_collective.rollout.guard.rules import RULES, Rule, Verdict, judge
from care_collective.rollout.outcomes import Kind

NOW = 1_000_000.0
DOCUMENT = Path(__file__).parents[2] / "docs" / "guard.md"


def _outcomes(
    worked: int, failed: int = 0, *, code: str = "server_error", ago: float = 60.0, ms: float = 20.0
) -> tuple[Outcome, ...]:
    success = [Outcome(NOW - ago, "success", f"helper {n}", None, ms) for n in range(worked)]
    return (*success, *(Outcome(NOW - ago, "failure", f"helper {n}", code, ms) for n in range(failed)))


def _seen(**changes: object) -> Evidence:
    base = Evidence(now=NOW, recent=_outcomes(30))
    return msgspec.structs.replace(base, **changes)


def _rules(verdict: Verdict) -> list[str]:
    return [finding.rule for finding in verdict.findings]


def _only(name: str, seen: Evidence) -> Verdict:
    return judge(seen, {name: RULES[name]})


def test_when_all_is_well_nothing_is_done() -> None:
    assert judge(_seen()) == Verdict("none")


def test_one_violation_rolls_back() -> None:
    verdict = judge(_seen(violations=Violations(1, "sequence_gap in conversation 7")))
    assert (verdict.action, verdict.rule) == ("rollback", "violation")
    assert verdict.words == "1 row of the new engine in a state that must never be: sequence_gap in conversation 7"


@pytest.mark.parametrize(
    ("probe", "action"),
    [
        (Probe(2, 0, "server_error"), "none"),
        (Probe(3, 0, "server_error"), "rollback"),
        (Probe(0, 2, "unavailable"), "none"),
        (Probe(0, 3, "unavailable"), "hold"),
    ],
)
def test_the_probe_rolls_back_at_the_third_failure_of_v2_alone_and_holds_when_both_fail(
    probe: Probe, action: str
) -> None:
    assert judge(_seen(probe=probe)).action == action


def test_a_probe_that_fails_while_nothing_opens_in_v2_is_a_warning() -> None:
    assert judge(_seen(probe=Probe(3, 0, "server_error"), opens=False)).action == "warn"


def test_the_detector_says_how_many_failed_with_what_and_from_how_many() -> None:
    state = Detector()
    for helper in ("ann", "ann", "bea", "cid", "dan", "ann", "bea"):
        state = state.failed(helper, "server_error")
    verdict = judge(_seen(detector=state.worked().worked()))
    assert (verdict.action, verdict.rule) == ("rollback", "detector")
    assert verdict.words == "7 of the last 9 offers in the new engine failed (server_error), from 4 helpers"
    assert verdict.numbers["helpers"] == 4


def test_the_detector_names_each_code_with_its_number() -> None:
    state = Detector()
    for code in ("rpc_error", "server_error", "server_error", "server_error"):
        state = state.failed(code + str(state.judged), code)
    assert "failed (server_error 3, rpc_error 1)" in judge(_seen(detector=state)).words


@pytest.mark.parametrize(
    ("worked", "failed", "ago", "expected"),
    [
        (16, 4, 60, True),  # 80 %
        (17, 3, 60, False),  # 85 % is the least, and is enough
        (15, 4, 60, False),  # 19 are too few
        (16, 4, 601, False),  # past 10 minutes
        (16, 4, -5, False),  # ahead of the clock: it was set back
    ],
)
def test_the_plans_own_rule(worked: int, failed: int, ago: float, expected: bool) -> None:
    verdict = _only("success", _seen(recent=_outcomes(worked, failed, ago=ago)))
    assert (verdict.action == "rollback") is expected
    assert not expected or verdict.words == (
        "Of 20 offers in the new engine in the last 10 minutes 16 succeeded (80.0%); the others failed (server_error), "
        "and 85% is the least"
    )


@pytest.mark.parametrize(
    ("complaints", "expected"),
    [
        ([(10, 500)], False),
        ([(11, 500)], True),
        ([(6, 500), (5, 400)], True),
        ([(3, 29)], True),
        ([(3, 30)], False),  # a tenth, not more
        ([(2, 10)], False),  # at least three
        ([(10, 99)], True),
        ([(10, 100)], False),  # no small community
    ],
)
def test_complaints(complaints: list[tuple[int, int]], expected: bool) -> None:
    seen = _seen(complaints=tuple(Complaints(*pair) for pair in complaints))
    assert (judge(seen).action == "rollback") is expected


@pytest.mark.parametrize(("slow", "expected"), [(1, False), (2, True)])
def test_one_slow_offer_in_20_is_borne_and_two_are_a_warning(slow: int, expected: bool) -> None:
    verdict = _only("slow", _seen(recent=(*_outcomes(20 - slow), *_outcomes(slow, ms=501.0))))
    assert (verdict.action == "warn") is expected


@pytest.mark.parametrize(("failed", "expected"), [(1, False), (2, True)])
def test_success_below_95_percent_is_a_warning_however_old_the_last_20_offers_are(failed: int, expected: bool) -> None:
    verdict = _only("failing", _seen(recent=_outcomes(20 - failed, failed, ago=864_000)))
    assert (verdict.action == "warn") is expected


def test_a_warning_needs_20_offers() -> None:
    assert _only("failing", _seen(recent=_outcomes(1, 18))).action == "none"


def test_of_a_busy_quarter_of_an_hour_all_offers_count_and_not_only_20() -> None:
    assert _only("failing", _seen(recent=_outcomes(100, 4))).action == "none"
    assert _only("failing", _seen(recent=_outcomes(100, 6))).action == "warn"


def test_one_code_above_5_percent_is_a_warning_and_two_below_it_are_none() -> None:
    both = (*_outcomes(95, 5), *_outcomes(0, 5, code="rpc_error"))
    assert _only("one_code", _seen(recent=both)).action == "none"
    verdict = _only("one_code", _seen(recent=_outcomes(94, 6)))
    assert verdict.words == "6 of the last 100 offers in the new engine failed with server_error (6.0%); 5% is the most"


@pytest.mark.parametrize(("exists", "expected"), [(2, False), (3, True)])
def test_double_submits_above_10_percent_are_a_warning(exists: int, expected: bool) -> None:
    answers = (Outcome(NOW - 60, "answer", "ann", "conversation_exists"),) * exists
    seen = _seen(recent=(*_outcomes(20 - exists), *answers))
    assert (_only("double_submits", seen).action == "warn") is expected


@pytest.mark.parametrize("kind", ["shared", "answer"])
def test_shared_failures_and_answers_are_no_failures_of_v2(kind: Kind) -> None:
    others = (Outcome(NOW - 60, kind, "ann", "unavailable"),) * 50
    assert judge(_seen(recent=(*others, *_outcomes(20)))) == Verdict("none")


def test_without_offers_it_holds() -> None:
    verdict = judge(_seen(recent=()))
    assert (verdict.action, verdict.rule) == ("hold", "no_data")


def test_the_strongest_rule_is_told_and_all_are_named() -> None:
    seen = _seen(recent=_outcomes(10, 10, ms=900), violations=Violations(2, "x"))
    verdict = judge(seen)
    assert (verdict.action, verdict.rule) == ("rollback", "violation")
    assert _rules(verdict) == ["violation", "success", "slow", "failing", "one_code"]


def test_a_rule_in_a_dry_run_is_found_and_asks_for_nothing() -> None:
    rules = {"success": Rule("rollback", RULES["success"].thresholds, dry_run=True)}
    verdict = judge(_seen(recent=_outcomes(1, 19)), rules)
    assert verdict.action == "none"
    assert [(f.rule, f.action, f.dry_run) for f in verdict.findings] == [("success", "rollback", True)]


def test_a_threshold_is_data() -> None:
    rules = {"probe": Rule("rollback", {"times": 5})}
    assert judge(_seen(probe=Probe(4, 0, "rpc_error")), rules).action == "none"
    assert judge(_seen(probe=Probe(5, 0, "rpc_error")), rules).action == "rollback"


@pytest.mark.parametrize("rule", RULES)
def test_the_document_has_each_rule_with_its_thresholds(rule: str) -> None:
    (line,) = (line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{rule}` |"))
    for name, value in RULES[rule].thresholds.items():
        assert f"`{name}` {value:,.10g}" in line or "…" in line


def test_no_rule_can_ask_for_more_than_a_rollback() -> None:
    assert {rule.action for rule in RULES.values()} == {"rollback", "warn", "hold"}
