"""When a stage may end: each exit criterion held against the numbers, in plain words. Rules: rollout.md, stages.

Pure, and decides nothing: a person does.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec

from care_collective.rollout.policy import INTERNAL, OFF, ON, Stage, is_for_all

Name = Literal["success", "speed", "codes", "violations", "attempts", "orphans", "quiet", "retire"]
State = Literal["met", "not_met", "no_data"]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]

# The order in which a rollout goes forward, and the usual days of each stage: the least of those it may take.
FORWARD: Final = (OFF, INTERNAL, Stage("percentage", 1000), Stage("percentage", 5000), ON)
LEAST_ATTEMPTS: Final = 20
SLOWEST_MS: Final = 500
_MOST_OF_A_CODE: Final = 0.01
_QUIET: Final = timedelta(days=14)
_BEFORE_RETIRING: Final = timedelta(days=30)
# The guard looks every few seconds: past this nobody has looked.
LOOKED: Final = timedelta(minutes=1)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the criteria are judged by: V2's numbers since the stage began, and what concerns V1.

    `violations` None: nobody has looked. `last_v1_at`: when V1 opened a conversation last, None for never.
    """

    now: datetime
    since: datetime
    attempts: int = 0
    successes: int = 0
    p95_ms: float | None = None
    failure_codes: Mapping[str, int] = {}
    violations: int | None = None
    violations_at: datetime | None = None
    orphans: int = 0
    last_v1_at: datetime | None = None


class Criterion(msgspec.Struct, frozen=True):
    """One exit criterion: whether it is met, and why in words.

    `reason_will_do`: it is not met, and a person may go on all the same by writing why.
    """

    name: Name
    state: State
    words: str
    reason_will_do: bool = False


class Exit(msgspec.Struct, frozen=True):
    """Whether a stage may end, and the stage that would follow, None after the last. A person decides."""

    stage: str
    may_go_on: bool
    following: str | None
    criteria: list[Criterion]


def judge(stage: Stage, seen: Seen) -> Exit:
    """Every exit criterion of a stage. It may end when each is met, or a written reason will do in its place."""
    found = list(_of_off(seen) if stage == OFF else _after_off(stage, seen))
    # Retiring V1 is another decision than that V2 is on for all.
    needed = [one for one in found if one.name != "retire"]
    may = all(one.state == "met" or one.reason_will_do for one in needed)
    after = following(stage)
    return Exit(str(stage), may, None if after is None else str(after), found)


def following(stage: Stage) -> Stage | None:
    """The stage that usually comes after this one, None after the last."""
    return next((one for one in FORWARD if _rank(one) > _rank(stage)), None)


def goal(stage: Stage) -> float:
    """The share of attempts of which more have to succeed before a stage may end."""
    if is_for_all(stage):
        return 0.99
    return 0.97 if stage.share >= 5000 else 0.95


def usual_days(stage: Stage) -> int:
    """How many days a stage usually takes at least."""
    if is_for_all(stage):
        return 15
    if stage == OFF:
        return 1
    return 7 if stage.share >= 5000 else 3


def _rank(stage: Stage) -> int:
    """How far a stage is: any percentage lies between internal and on."""
    return {"off": -2, "internal": -1, "on": 10_000}.get(stage.kind, stage.share)


def _of_off(seen: Seen) -> Iterator[Criterion]:
    yield _violations(seen)
    if seen.orphans == 0:
        yield Criterion("orphans", "met", "V1 has no conversation without a message.")
    else:
        said = f"V1 conversations without a message: {seen.orphans}; legacy repair mends them."
        yield Criterion("orphans", "met", said)


def _after_off(stage: Stage, seen: Seen) -> Iterator[Criterion]:
    yield _success(stage, seen)
    yield _speed(seen)
    yield _codes(seen)
    yield _violations(seen)
    yield _attempts(stage, seen)
    if is_for_all(stage):
        yield from _v1(seen)


def _success(stage: Stage, seen: Seen) -> Criterion:
    least = goal(stage)
    if not seen.attempts:
        return Criterion("success", "no_data", f"No data yet: more than {least:.0%} of the offers in V2 must succeed.")
    met = seen.successes > least * seen.attempts
    said = f"{seen.successes} of {seen.attempts} offers in V2 succeeded ({_percent(seen.successes, seen.attempts)}%)"
    return Criterion("success", "met" if met else "not_met", f"{said}; more than {least:.0%} must.")


def _speed(seen: Seen) -> Criterion:
    if seen.p95_ms is None:
        return Criterion("speed", "no_data", f"No data yet: 95 of 100 offers must take less than {SLOWEST_MS} ms.")
    met = seen.p95_ms < SLOWEST_MS
    said = f"95 of 100 offers in V2 took up to {seen.p95_ms:.0f} ms; it must be less than {SLOWEST_MS} ms."
    return Criterion("speed", "met" if met else "not_met", said)


def _codes(seen: Seen) -> Criterion:
    if not seen.attempts:
        return Criterion("codes", "no_data", "No data yet: no kind of failure may come in 1% of the attempts.")
    code, count = max(seen.failure_codes.items(), key=lambda one: one[1], default=("", 0))
    if not count:
        return Criterion("codes", "met", "No offer in V2 failed.")
    met = count < _MOST_OF_A_CODE * seen.attempts
    said = f"The failure {code} came {count} times in {seen.attempts} attempts ({_percent(count, seen.attempts)}%)"
    return Criterion("codes", "met" if met else "not_met", f"{said}; it must be less than 1%.")


def _violations(seen: Seen) -> Criterion:
    looked = seen.violations_at is not None and abs(seen.now - seen.violations_at) <= LOOKED
    if seen.violations is None or not (looked or seen.violations):
        said = "No data: nobody has looked at the rows of V2 for a minute. Is a node running?"
        return Criterion("violations", "no_data", said)
    if seen.violations:
        said = f"Rows of V2 in a state that must never be: {seen.violations}. Run doctor to see which."
        return Criterion("violations", "not_met", said)
    return Criterion("violations", "met", "No row of V2 is in a state that must never be.")


def _attempts(stage: Stage, seen: Seen) -> Criterion:
    if seen.attempts >= LEAST_ATTEMPTS:
        said = f"{seen.attempts} attempts in V2 since the stage began; {LEAST_ATTEMPTS} are needed."
        return Criterion("attempts", "met", said)
    days, enough = (seen.now - seen.since) / timedelta(days=1), 2 * usual_days(stage)
    said = f"Only {seen.attempts} attempts in V2 in {days:.1f} days; {LEAST_ATTEMPTS} are needed."
    if days >= enough:
        return Criterion("attempts", "not_met", f"{said} As {enough} days have passed, a written reason will do.", True)
    return Criterion("attempts", "not_met", f"{said} After {enough} days a written reason will do.")


def _v1(seen: Seen) -> Iterator[Criterion]:
    quiet_since = max(seen.since, seen.last_v1_at or seen.since)
    quiet = seen.now - quiet_since
    said = f"V1 has opened no conversation for {quiet / timedelta(days=1):.1f} days;"
    yield Criterion("quiet", "met" if quiet >= _QUIET else "not_met", f"{said} {_QUIET.days} are needed.")
    whole = _QUIET + _BEFORE_RETIRING
    said += f" after {whole.days} it may be retired."
    yield Criterion("retire", "met" if quiet >= whole else "not_met", said)


def _percent(part: int, whole: int) -> str:
    # Cut, not rounded: 95.04 % is more than 95 %, 94.96 % is not.
    return f"{int(1000 * part / whole) / 10:.1f}"
