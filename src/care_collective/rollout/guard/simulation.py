"""How soon the detector trips and how often falsely, by chance with a fixed seed, beside two window rules.

Runs the classes and the judge's own checks that the live guard runs. Pure: randomness by seed, no clock.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from statistics import quantiles
from typing import Final, Protocol

import msgspec

from care_collective.rollout.guard.detector import Detector
from care_collective.rollout.guard.evidence import Evidence, Outcome, advance
from care_collective.rollout.guard.replay import MOST_RECENT
from care_collective.rollout.guard.rules import RULES, Rule, judge, trips

SEED: Final = 1
WEEKS: Final = 1000
TRIALS: Final = 2000
SOUND_BEFORE: Final = 200  # a rule is asked both when V2 is new and when it has run well
TRAFFIC: Final = (12, 120, 1200)  # offers a week
BROKEN: Final = (1.0, 0.5, 0.2, 0.05)
SOUND: Final = (0.001, 0.005, 0.01)
_HELPERS: Final = 40  # who offer help in a small community; one draws each attempt
_WEEK_SECONDS: Final = 7 * 24 * 3600.0
_GIVE_UP: Final = 2000  # attempts after which a trial says "not in this time"

# The bar of rollout.md: attempts until it trips, median and 90th percentile; false trips at most, by failure rate.
BAR: Final[Mapping[float, tuple[float, float]]] = {1.0: (4, 4), 0.5: (8, 14), 0.2: (29, 53), 0.05: (241, 450)}
BAR_FALSE: Final[Mapping[float, int]] = {0.001: 0, 0.005: 0, 0.01: 1}


class _Watcher(Protocol):
    """A rule as the simulation runs it: fed an attempt, it says whether it trips now."""

    def __call__(self, outcome: Outcome) -> bool: ...


def _detector() -> _Watcher:
    state, least = Detector(), RULES["detector"].thresholds

    def feed(outcome: Outcome) -> bool:
        nonlocal state
        state = advance(state, outcome)
        return trips(state, least)

    return feed


def _window(rule: Rule, *, seconds: float, most: int) -> Callable[[], _Watcher]:
    # The least number of attempts first: judging costs more than counting, and at a dozen a week it is never reached.
    def make() -> _Watcher:
        recent: deque[Outcome] = deque(maxlen=most)
        rules = {"success": rule}

        def feed(outcome: Outcome) -> bool:
            recent.append(outcome)
            while recent[0].at <= outcome.at - seconds:
                recent.popleft()
            if len(recent) < rule.thresholds["attempts"] or outcome.kind == "success":
                return False
            return judge(Evidence(now=outcome.at, recent=tuple(recent)), rules).action == "rollback"

        return feed

    return make


# The naive window looks at the last 20 offers, however old, and wants what the page's exit criteria want: 95 %.
_NAIVE: Final = Rule("rollback", {"success": 0.95, "attempts": 20, "minutes": 1e9})
WATCHERS: Final[Mapping[str, Callable[[], _Watcher]]] = {
    "detector": _detector,
    "plan": _window(RULES["success"], seconds=600.0, most=MOST_RECENT),
    "naive": _window(_NAIVE, seconds=60e9, most=20),
}


class Delay(msgspec.Struct, frozen=True):
    """Attempts until a rule trips at a failure rate, after so many that all succeeded: median and 90th percentile.

    None where it did not trip in 2,000 attempts.
    """

    watcher: str
    failing: float
    a_week: int
    after: int
    median: float | None
    ninetieth: float | None


class FalseTrips(msgspec.Struct, frozen=True):
    """How often a rule trips in so many weeks in which V2 fails no more than it may. After each it begins anew."""

    watcher: str
    failing: float
    a_week: int
    weeks: int
    trips: int


class Report(msgspec.Struct, frozen=True):
    """All that a simulation found."""

    seed: int
    weeks: int
    delays: list[Delay]
    false_trips: list[FalseTrips]


def _attempts(chance: random.Random, failing: float, a_week: float) -> Iterator[Outcome]:
    at = 0.0
    while True:
        at += chance.expovariate(a_week / _WEEK_SECONDS)
        helper = str(chance.randrange(_HELPERS))
        if chance.random() < failing:
            yield Outcome(at, "failure", helper, "server_error")
        else:
            yield Outcome(at, "success", helper)


def measure_delay(
    watcher: str, failing: float, a_week: int, *, after: int = 0, seed: int = SEED, trials: int = TRIALS
) -> Delay:
    """How many attempts a rule needs, by `trials` runs: `after` sound attempts, then V2 fails at this rate."""
    counts = []
    for trial in range(trials):
        feed, outcomes = WATCHERS[watcher](), _attempts(_chance(seed, failing, a_week, after, trial), failing, a_week)
        for number in range(after):
            feed(Outcome(number - after, "success", str(number % _HELPERS)))
        counts.append(next((n for n, o in zip(range(1, _GIVE_UP), outcomes, strict=False) if feed(o)), _GIVE_UP))
    deciles = quantiles(counts, n=10, method="inclusive")
    found = [None if value >= _GIVE_UP else value for value in (deciles[4], deciles[8])]
    return Delay(watcher, failing, a_week, after, *found)


def measure_false(watcher: str, failing: float, a_week: int, *, seed: int = SEED, weeks: int = WEEKS) -> FalseTrips:
    """How often a rule trips in so many weeks at a failure rate that is none of its business."""
    feed, count = WATCHERS[watcher](), 0
    for outcome in _attempts(_chance(seed, failing, a_week, "false"), failing, a_week):
        if outcome.at > weeks * _WEEK_SECONDS:
            break
        if feed(outcome):
            feed, count = WATCHERS[watcher](), count + 1
    return FalseTrips(watcher, failing, a_week, weeks, count)


def simulate(*, seed: int = SEED, weeks: int = WEEKS, tell: Callable[[str], None] = lambda _: None) -> Report:
    """The whole table. Each cell has a seed of its own, so that one alone gives the same as all together."""
    delays, false = [], []
    for watcher in WATCHERS:
        # The plan's rule has a clock: what it sees depends on the traffic, and at 1,200 a week it sees the most.
        a_week, trials = (TRAFFIC[-1], TRIALS // 20) if watcher == "plan" else (TRAFFIC[0], TRIALS)
        for after in (0, SOUND_BEFORE):
            tell(f"{watcher}: delays after {after} sound attempts")
            delays += [measure_delay(watcher, rate, a_week, after=after, seed=seed, trials=trials) for rate in BROKEN]
        for a_week in TRAFFIC:
            tell(f"{watcher}: {weeks:,} weeks at {a_week:,} a week")
            false += [measure_false(watcher, rate, a_week, seed=seed, weeks=weeks) for rate in SOUND]
    return Report(seed, weeks, delays, false)


def _chance(*cell: object) -> random.Random:
    return random.Random(":".join(map(str, cell)))  # noqa: S311  a simulation is to be repeatable


def tables(report: Report) -> str:
    """A report as two tables in Markdown: docs/detector.md holds those of the default seed and weeks."""
    heads = "| rule | V2 fails | after sound attempts | attempts until it trips, median (90th percentile) |"
    lines = [f"{heads} at 12 a week | at 120 | at 1,200 | the bar |", "| --- " * 8 + "|"]
    lines += [delay_line(delay) for delay in report.delays]
    lines += ["", f"False trips in {report.weeks:,} weeks:", ""]
    lines += ["| rule | V2 fails | at 12 a week | at 120 | at 1,200 | the bar |", "| --- " * 6 + "|"]
    rows = list(dict.fromkeys((found.watcher, found.failing) for found in report.false_trips))
    for watcher, rate in rows:
        counts = [str(f.trips) for f in report.false_trips if (f.watcher, f.failing) == (watcher, rate)]
        lines.append(f"| {watcher} | {rate:.1%} | {' | '.join(counts)} | {BAR_FALSE[rate]} |")
    return "\n".join(lines)


def delay_line(delay: Delay) -> str:
    """One delay as a line of the table; its times are the median's at each traffic."""
    median, ninetieth = BAR[delay.failing]
    bar = f"{median} ({ninetieth})"
    start = f"| {delay.watcher} | {delay.failing:.0%} | {delay.after}"
    if delay.median is None:
        return f"{start} | not in {_GIVE_UP:,} | never | never | never | {bar} |"
    most = "never" if delay.ninetieth is None else f"{delay.ninetieth:.0f}"
    times = " | ".join(_duration(delay.median / a_week * _WEEK_SECONDS) for a_week in TRAFFIC)
    return f"{start} | {delay.median:g} ({most}) | {times} | {bar} |"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600)):
        if seconds >= 1.95 * length:
            return f"{seconds / length:.{0 if seconds >= 10 * length else 1}f} {unit}"
    return f"{seconds / 60:.0f} min"
