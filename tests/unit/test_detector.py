"""The sequential detector: its formula, its memory of the rise, and how it does by chance (docs/detector.md)."""

import math
import random
import re
from pathlib import Path

import msgspec
import pytest

from care_collective.rollout.guard import simulation
from care_collective.rollout.guard.detector import ALTERNATIVES, CALM_LEVEL, Detector
from care_collective.rollout.guard.evidence import Outcome, advance
from care_collective.rollout.guard.rules import RULES, trips

DOCUMENT = Path(__file__).parents[2] / "docs" / "detector.md"
LEAST = RULES["detector"].thresholds


def _after(*failed: bool, start: Detector = Detector()) -> Detector:  # noqa: B008  frozen
    for place, one in enumerate(failed):
        start = start.failed(f"helper {place}", "server_error") if one else start.worked()
    return start


def test_the_statistics_are_those_of_the_specification() -> None:
    levels = [0.0] * 4
    state = Detector((0.0,) * 4)
    chance = random.Random(7)
    for _ in range(200):
        failed = chance.random() < 0.03
        levels = [(1 + r) * (q / 0.01 if failed else (1 - q) / 0.99) for r, q in zip(levels, ALTERNATIVES, strict=True)]
        state = _after(failed, start=state)
    assert state.levels == pytest.approx(levels, rel=1e-12)
    assert state.level == pytest.approx(sum(levels) / 4)
    assert state.judged == 200


def test_it_decides_as_logarithms_do_however_far_it_rises() -> None:
    logs, state, chance = [-math.inf] * 4, Detector((0.0,) * 4), random.Random(11)
    for number in range(6000):
        failed = number < 140 or chance.random() < 0.02
        factors = [math.log(q / 0.01 if failed else (1 - q) / 0.99) for q in ALTERNATIVES]
        logs = [max(r, 0) + math.log1p(math.exp(-abs(r))) + f for r, f in zip(logs, factors, strict=True)]
        state = _after(failed, start=state)
        assert (state.level >= 1e6) == (
            max(logs) + math.log(sum(math.exp(r - max(logs)) for r in logs) / 4) >= math.log(1e6)
        )


def test_a_thousand_failures_leave_a_finite_level() -> None:
    state = _after(*[True] * 1000)
    assert math.isfinite(state.level)
    assert trips(state, LEAST)


@pytest.mark.parametrize(("failures", "expected"), [(3, False), (4, True)])
def test_four_failures_running_trip_and_three_do_not(failures: int, expected: bool) -> None:
    assert trips(_after(*[True] * failures), LEAST) is expected
    assert trips(_after(*[False] * 500, *[True] * failures), LEAST) is expected


def test_failures_of_one_helper_do_not_trip_and_those_of_two_do() -> None:
    state = Detector()
    for _ in range(9):
        state = state.failed("ann", "server_error")
    assert state.level > 1e6
    assert not trips(state, LEAST)
    assert trips(state.failed("bea", "server_error"), LEAST)


@pytest.mark.parametrize("kind", ["answer", "shared"])
def test_answers_and_shared_failures_leave_it_as_it_is(kind: str) -> None:
    outcome = msgspec.convert({"at": 1.0, "kind": kind, "helper": "ann", "code": "unavailable"}, Outcome)
    state = _after(False, True, False)
    assert advance(state, outcome) is state


def test_it_tells_of_the_rise_and_forgets_it_once_all_is_calm() -> None:
    state = _after(*[False] * 50, True, False, True)
    assert (state.attempts, state.failures, len(state.helpers)) == (3, 2, 2)
    calm = _after(*[False] * 400, start=state)
    assert calm.level <= CALM_LEVEL
    assert (calm.attempts, calm.codes, calm.helpers) == (0, {}, frozenset())
    assert calm.judged == 453


@pytest.mark.parametrize("rate", [1.0, 0.5, 0.2])
@pytest.mark.parametrize("after", [0, simulation.SOUND_BEFORE])
def test_delays_are_those_of_the_document_and_reach_the_bar(rate: float, after: int) -> None:
    delay = simulation.measure_delay("detector", rate, 12, after=after)
    assert simulation.delay_line(delay) in DOCUMENT.read_text()
    assert delay.median is not None
    assert delay.ninetieth is not None
    median, ninetieth = simulation.BAR[rate]
    slack = after > 0  # in the midst of sound traffic the median at 50 % lies between 8 and 9
    assert delay.median <= median + slack
    assert delay.ninetieth <= ninetieth


def test_a_slow_decay_is_found_as_soon_as_the_bar_asks() -> None:
    delay = simulation.measure_delay("detector", 0.05, 12, trials=300)
    assert delay.median is not None
    assert delay.ninetieth is not None
    assert delay.median <= 241 * 1.1  # of 300 trials; the document has 2,000
    assert delay.ninetieth <= 450 * 1.1


@pytest.mark.parametrize("rate", simulation.SOUND)
@pytest.mark.parametrize("watcher", simulation.WATCHERS)
def test_false_trips_at_a_dozen_a_week_are_those_of_the_document(watcher: str, rate: float) -> None:
    found = simulation.measure_false(watcher, rate, 12)
    assert f"| {watcher} | {rate:.1%} | {found.trips} |" in DOCUMENT.read_text()
    assert watcher == "naive" or found.trips <= simulation.BAR_FALSE[rate]


def test_false_trips_at_120_a_week_are_those_of_the_document() -> None:
    found = simulation.measure_false("detector", 0.01, 120)
    assert re.search(rf"\| detector \| 1\.0% \| \d+ \| {found.trips} \|", DOCUMENT.read_text())
    assert found.trips <= 1


def test_another_seed_gives_other_chances_and_the_same_seed_the_same() -> None:
    first, again, other = (simulation.measure_delay("detector", 0.2, 12, seed=s, trials=30) for s in (1, 1, 2))
    assert first == again
    assert first != other
