"""All that operators see of a rollout: the flag whole, its numbers, the guard, and whether the stage may end.

What the page, /api/ops/kpis and the command `status` show is one value. A rate without attempts is None, never 1.
"""

from datetime import date
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from care_collective.db.call import Caller, Database
from care_collective.rollout import criteria, switch
from care_collective.rollout.criteria import Exit, Moment
from care_collective.rollout.guard.detector import CALM_LEVEL
from care_collective.rollout.guard.rulebook import Shown, shown
from care_collective.rollout.guard.rules import Changed
from care_collective.rollout.policy import OFF, Stage, is_for_all

# What a flag opens to whom: of a percentage the share, of the cohort nobody knows how many members there are.
EVERYBODY: Final = 100.0


class CohortMember(msgspec.Struct, frozen=True):
    """A member named for the cohort."""

    user_id: UUID
    email: str
    added_by: str
    added_at: Moment


class LiveNode(msgspec.Struct, frozen=True):
    """A serving process, what is in force there, where that comes from, and since when it knows this generation."""

    node_id: UUID
    name: str
    release: str
    started_at: Moment
    seen_at: Moment
    seen_seconds_ago: float
    generation: int
    reached_at: Moment
    stage: str
    source: str
    alarm: bool


class Stop(msgspec.Struct, frozen=True):
    """Who or which rule stopped the flag, why, and the numbers that led to it."""

    id: UUID
    actor: str
    at: Moment
    why: str | None
    words: str
    numbers: dict[str, Any] | None
    from_stage: str | None


class Change(msgspec.Struct, frozen=True):
    """A row of the flag's history."""

    id: UUID
    at: Moment
    actor: str
    action: str
    from_stage: str | None
    to_stage: str | None
    why: str | None
    words: str
    numbers: dict[str, Any] | None
    generation: int | None
    told_at: Moment | None


class Rollout(msgspec.Struct, frozen=True):
    """The flag whole. A cohort of nobody is coordinators and operators; a stage that is not `readable` is off.

    Where V1 is `retired`, off means paused: who is outside V2 cannot offer until it goes on.
    """

    success: Literal[True]
    name: str
    stage: str
    readable: bool
    salt: str
    stopped: Literal["killed", "tripped"] | None
    stopped_by: Stop | None
    generation: int
    since: Moment
    retired: bool
    cohort: list[CohortMember]
    nodes: list[LiveNode]
    changes: list[Change]


class EngineNumbers(msgspec.Struct, frozen=True):
    """One engine since a moment. `success_low` and `success_high` are the 95 % interval; times are milliseconds.

    `shared` failures were V1's at the same time, `answers` are refusals: neither is an attempt. `offers` are those that
    have had three days, `answered` those that the requester answered within these.
    """

    attempts: int
    successes: int
    failures: int
    shared: int
    answers: int
    success_rate: float | None
    success_low: float | None
    success_high: float | None
    failure_codes: dict[str, int]
    answer_codes: dict[str, int]
    complaints: int
    complaints_per_100: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    offers: int
    answered: int
    answered_rate: float | None


class Day(msgspec.Struct, frozen=True):
    """Conversations that each engine opened on a day of UTC, V2's share of them, and attempts that failed."""

    day: date
    v1: int
    v2: int
    share: float | None
    v1_failures: int
    v2_failures: int


class Numbers(msgspec.Struct, frozen=True):
    """Both engines since the stage began, or while it is stopped since the stage before began; days for a fortnight.

    `violations` are those that the guard knew of at `violations_at`, None where it has never looked.
    """

    since: Moment
    until: Moment
    v1: EngineNumbers
    v2: EngineNumbers
    adoption: list[Day]
    last_v1_at: Moment | None
    complaining_members_last_hour: int
    orphans: int
    violations: int | None
    violations_at: Moment | None
    violation: str | None


class ProbeState(msgspec.Struct, frozen=True):
    """The last probe, and how often running it failed: in V2 while V1 passed, and in both."""

    probed_at: Moment | None
    v2_alone: int
    both: int
    code: str | None


class GuardState(msgspec.Struct, frozen=True):
    """How the guard stands. The detector is calm up to `calm_level` and trips at `trip_level`; None before an attempt.

    `watching`: it has looked within the minute. `untold`: alerts that were tried and could not be sent yet.
    """

    watching: bool
    level: float | None
    calm_level: float
    trip_level: float
    judged: int
    rules: list[Shown]
    probe: ProbeState | None
    untold: int


class Kpis(msgspec.Struct, frozen=True):
    """All that operators see of a flag.

    `in_force` is the stage that holds on every live node, None where their settings differ; `share` how many of 100
    members it opens V2 to, the cohort apart. `exit` is None while the flag is stopped or its stage cannot be read.
    """

    success: Literal[True]
    in_force: str | None
    share: float | None
    rollout: Rollout
    numbers: Numbers
    guard: GuardState
    exit: Exit | None


class _Guard(msgspec.Struct, frozen=True):
    level: float | None
    judged: int
    rules: dict[str, Changed]
    probe: ProbeState | None
    untold: int


class _Found(msgspec.Struct, frozen=True):
    rollout: Rollout
    numbers: Numbers
    guard: _Guard


_decode = msgspec.json.Decoder(_Found).decode


async def see(database: Database, caller: Caller, *, exact: bool = False) -> Kpis:
    """What an operator sees. `exact` counts violations over every row, which is slow in a large database.

    Errors: CareError `permission_denied` for anybody else.
    """
    answer = await switch.operate(database, caller, "kpis", {"exact": "true" if exact else None})
    return of(answer.success())


async def look(owner: Database, flag: str, *, changes: int = 20) -> Kpis:
    """The same for a command, with the owner's database."""
    return of((await owner.call("care.rollout_kpis", p_flag=flag, p_changes=changes)).success())


def of(text: str) -> Kpis:
    """What care.rollout_kpis answered, with the stage in force, the guard's rules, and the exit criteria judged."""
    found = _decode(text)
    stage = in_force(found.rollout)
    ends = None
    if stage is not None and found.rollout.stopped is None and _is_sound(found.rollout):
        ends = criteria.judge(stage, _seen(found.rollout, found.numbers))
    return Kpis(
        success=True,
        in_force=None if stage is None else str(stage),
        share=None if stage is None else _share(stage),
        rollout=found.rollout,
        numbers=found.numbers,
        guard=_guard(found.guard, found.numbers),
        exit=ends,
    )


def in_force(rollout: Rollout) -> Stage | None:
    """The stage that is or within a second will be in force on every live node; None where their settings differ."""
    declared = declaring(rollout)
    if declared:
        stages = {node.stage for node in rollout.nodes}
        return Stage.parse(stages.pop()) if len(stages) == 1 else None
    if rollout.stopped is not None or not rollout.readable:
        return OFF
    return Stage.parse(rollout.stage)


def declaring(rollout: Rollout) -> list[LiveNode]:
    """The nodes whose environment decides."""
    return [node for node in rollout.nodes if node.source.startswith("environment:")]


def _is_sound(rollout: Rollout) -> bool:
    return rollout.readable or bool(declaring(rollout))


def _share(stage: Stage) -> float:
    return EVERYBODY if is_for_all(stage) else stage.share / 100


def _seen(rollout: Rollout, numbers: Numbers) -> criteria.Seen:
    v2 = numbers.v2
    return criteria.Seen(
        now=numbers.until,
        since=rollout.since,
        attempts=v2.attempts,
        successes=v2.successes,
        p95_ms=v2.p95_ms,
        failure_codes=v2.failure_codes,
        violations=numbers.violations,
        violations_at=numbers.violations_at,
        orphans=numbers.orphans,
        last_v1_at=numbers.last_v1_at,
    )


def _guard(found: _Guard, numbers: Numbers) -> GuardState:
    rules = shown(found.rules)
    trips_at = next(rule.thresholds["level"] for rule in rules if rule.rule == "detector")
    looked = numbers.violations_at
    return GuardState(
        watching=looked is not None and abs(numbers.until - looked) <= criteria.LOOKED,
        level=found.level,
        calm_level=CALM_LEVEL,
        trip_level=trips_at,
        judged=found.judged,
        rules=rules,
        probe=found.probe,
        untold=found.untold,
    )
