"""Runs the rules over attempts that have been: when each would have acted, how late, and whether falsely.

Pure. Judges with the live guard's own judge, one look after each attempt. What a row cannot show (violations, the
probe, complaints) is not replayed.
"""

import csv
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Final, cast, get_args

import msgspec

from care_collective.errors import Code
from care_collective.rollout.guard.detector import TOLERATED, Detector
from care_collective.rollout.guard.evidence import Evidence, Outcome, advance
from care_collective.rollout.guard.rules import RULES, Action, Rule, Rules, judge
from care_collective.rollout.outcomes import FAILURES, Kind

REPLAYED: Final = ("detector", "success", "slow", "failing", "one_code", "double_submits")
# A warning that comes again within this time is the same one, here and in the live guard (care.guard_warn).
EPISODE_SECONDS: Final = 900.0
# How many attempts a look sees at most, here and in the live guard (care.guard_look).
MOST_RECENT: Final = 200
_COLUMNS: Final = ("at", "version", "success", "code", "user")
_AFTERWARDS: Final = range(20, 101)  # attempts by which hindsight judges: at least, and one more than at most
_MOST_PROBLEMS: Final = 20


class Act(msgspec.Struct, frozen=True):
    """What a rule would have done at one moment. Times are seconds since 1970.

    `delay_seconds` and `delay_attempts` run from the first failure of the rise that led to it, None without a failure.
    `false`: of the next 100 attempts no more failed than may; None where too few followed to tell.
    """

    rule: str
    action: Action
    at: float
    words: str
    delay_seconds: float | None
    delay_attempts: int
    false: bool | None


class Replay(msgspec.Struct, frozen=True):
    """All acts in order of time, and how many attempts of V2 they were judged by."""

    attempts: int
    failures: int
    acts: list[Act]

    @property
    def false_trips(self) -> int:
        """How many rollbacks were false in hindsight."""
        return sum(act.action == "rollback" and act.false is True for act in self.acts)


class BadRows(ValueError):  # noqa: N818  what it holds, said as such
    """Rows of a CSV that cannot be read; the text has a line for each, with its line number."""


def replay(outcomes: Sequence[Outcome], rules: Rules = RULES) -> Replay:
    """Runs each rule by itself over attempts of V2 in the order of closing. After a rollback it begins anew."""
    acts = [act for name in REPLAYED if name in rules for act in _acts(outcomes, name, rules[name])]
    failures = sum(o.kind == "failure" for o in outcomes)
    return Replay(len(outcomes), failures, sorted(acts, key=lambda act: act.at))


def _acts(outcomes: Sequence[Outcome], name: str, rule: Rule) -> list[Act]:
    rules, recent = {name: rule}, deque[Outcome](maxlen=MOST_RECENT)
    acts, detector, began, last = list[Act](), Detector(), None, None
    for place, outcome in enumerate(outcomes):
        recent.append(outcome)
        detector = advance(detector, outcome)
        if not detector.attempts:
            began = None
        elif detector.attempts == 1:
            began = outcome.at
        verdict = judge(Evidence(now=outcome.at, detector=detector, recent=tuple(recent)), rules)
        if not verdict.findings:
            continue
        found = verdict.findings[0]
        if found.action == "rollback" or last is None or outcome.at - last > EPISODE_SECONDS:
            delay = None if began is None else outcome.at - began
            false = _in_hindsight(outcomes[place + 1 :][: _AFTERWARDS.stop * 2])
            acts.append(Act(name, found.action, outcome.at, found.words, delay, detector.attempts, false))
        last = outcome.at
        if found.action == "rollback":
            detector, began = Detector(), None
            recent.clear()
    return acts


def _in_hindsight(following: Sequence[Outcome]) -> bool | None:
    judged = [o for o in following if o.kind in ("success", "failure")][: _AFTERWARDS.stop - 1]
    if len(judged) < _AFTERWARDS.start:
        return None
    return sum(o.kind == "failure" for o in judged) / len(judged) <= TOLERATED


def read_csv(lines: Iterable[str]) -> list[Outcome]:
    """The attempts of V2 in a CSV, in order of time; those of V1 are passed over.

    Columns: at (ISO 8601 with its zone, or seconds since 1970), version (v1, v2), success (true, false), code (of a
    refusal or failure, else empty), user; where there are more, kind (success, failure, answer, shared) and duration_ms
    are read too. Errors: BadRows with up to 20 lines.
    """
    reader = csv.DictReader(lines, strict=True)
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise BadRows(f"line 1: the columns {', '.join(_COLUMNS)} are needed; {', '.join(missing)} is not there")
    outcomes, problems = list[Outcome](), list[str]()
    try:
        for row in reader:
            try:
                outcome = _outcome(row)
            except ValueError as error:
                problems.append(f"line {reader.line_num}: {error}")
                if len(problems) == _MOST_PROBLEMS:
                    break
            else:
                outcomes += [] if outcome is None else [outcome]
    except csv.Error as error:
        problems.append(f"line {reader.line_num}: {error}")
    if problems:
        raise BadRows("\n".join(problems))
    return sorted(outcomes, key=lambda o: o.at)


def _outcome(row: Mapping[str, str | None]) -> Outcome | None:
    cells = {name: (row.get(name) or "").strip() for name in (*_COLUMNS, "kind", "duration_ms")}
    if cells["version"] not in ("v1", "v2"):
        raise ValueError(f"version is v1 or v2, not {cells['version']!r}")
    if cells["success"] not in ("true", "false"):
        raise ValueError(f"success is true or false, not {cells['success']!r}")
    if not cells["user"]:
        raise ValueError("user is empty")
    at, took, kind = _time(cells["at"]), _milliseconds(cells["duration_ms"]), _kind(cells)
    return Outcome(at, kind, cells["user"], cells["code"] or None, took) if cells["version"] == "v2" else None


def _kind(cells: Mapping[str, str]) -> Kind:
    if cells["kind"]:
        if cells["kind"] not in get_args(Kind):
            raise ValueError(f"kind is one of {', '.join(get_args(Kind))}, not {cells['kind']!r}")
        return cast(Kind, cells["kind"])
    if cells["success"] == "true":
        return "success"
    try:
        return "failure" if Code(cells["code"]) in FAILURES else "answer"
    except ValueError:
        raise ValueError(f"code is one of the API's codes, not {cells['code']!r}") from None


def _time(text: str) -> float:
    try:
        at = float(text)
    except ValueError:
        pass
    else:
        if isfinite(at):
            return at
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"at is a time such as 2026-03-01T09:30:00Z, not {text!r}") from None
    if moment.tzinfo is None:
        raise ValueError(f"at needs its zone, as in 2026-03-01T09:30:00Z: {text!r}")
    return moment.timestamp()


def _milliseconds(text: str) -> float:
    try:
        took = float(text or 0)
    except ValueError:
        took = -1.0
    if not 0 <= took < float("inf"):
        raise ValueError(f"duration_ms is a number of milliseconds, not {text!r}")
    return took


def shown_time(at: float) -> str:
    """A time of a replay as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
