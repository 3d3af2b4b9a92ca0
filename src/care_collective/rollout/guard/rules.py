"""The rules of the guard as data, and the one judge of evidence by them. Rules: rollout.md, the guard.

Pure: the live guard, the replay and the rehearsal judge here. Nothing here advances a stage, whatever is seen.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from care_collective.rollout.guard.detector import TRIP_LEVEL, Detector
from care_collective.rollout.guard.evidence import EXISTS, Evidence, Outcome

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Action = Literal["none", "hold", "warn", "rollback"]
Numbers = dict[str, float | int | str]
_STRENGTH: Final[Mapping[Action, int]] = {"none": 0, "hold": 1, "warn": 2, "rollback": 3}


class Rule(msgspec.Struct, frozen=True):
    """What is done when a rule holds, and from where on. `dry_run`: it is said what would have been done."""

    action: Action
    thresholds: dict[str, float]
    dry_run: bool = False


class Finding(msgspec.Struct, frozen=True):
    """A rule that holds: what it asks for, in plain words with the numbers that led to it."""

    rule: str
    action: Action
    words: str
    numbers: Numbers = {}
    dry_run: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """What is to be done, and for which rule. `findings` are all rules that hold, those in a dry run among them."""

    action: Action
    rule: str | None = None
    words: str = "Nothing stands out."
    numbers: Numbers = {}
    findings: tuple[Finding, ...] = ()


class Changed(msgspec.Struct, frozen=True):
    """What operators changed of a rule and who did last, as care.changed_rules answers it."""

    thresholds: dict[str, float]
    dry_run: bool
    updated_at: Moment
    updated_by: str


Rules = Mapping[str, Rule]
_Found = tuple[str, Numbers] | None


def _violation(seen: Evidence, least: Mapping[str, float]) -> _Found:
    if seen.violations.count < least["count"]:
        return None
    said = f"{_many(seen.violations.count, 'row')} of the new engine in a state that must never be: "
    return said + seen.violations.first, {"violations": seen.violations.count}


def _probe(seen: Evidence, least: Mapping[str, float]) -> _Found:
    if seen.probe.v2_alone < least["times"]:
        return None
    said = f"The probe failed {seen.probe.v2_alone} times running in the new engine ({seen.probe.code})"
    return f"{said}, while the old one passed", {"times": seen.probe.v2_alone}


def _probe_both(seen: Evidence, least: Mapping[str, float]) -> _Found:
    if seen.probe.both < least["times"]:
        return None
    said = f"The probe failed {_many(seen.probe.both, 'time')} running in both engines ({seen.probe.code})"
    return f"{said}: what they share is at fault, and nothing is rolled back", {"times": seen.probe.both}


def trips(detector: Detector, least: Mapping[str, float]) -> bool:
    """Whether the detector has reached its level, with failures of enough helpers."""
    return detector.level >= least["level"] and len(detector.helpers) >= least["helpers"]


def _detector(seen: Evidence, least: Mapping[str, float]) -> _Found:
    state = seen.detector
    if not trips(state, least):
        return None
    said = f"{state.failures} of the last {_many(state.attempts, 'offer')} in the new engine failed"
    numbers: Numbers = {"attempts": state.attempts, "failures": state.failures, "helpers": len(state.helpers)}
    return f"{said} ({_codes(state.codes)}), from {len(state.helpers)} helpers", {**numbers, "level": state.level}


def _success(seen: Evidence, least: Mapping[str, float]) -> _Found:
    judged = _judged(_within(seen.recent, seen.now, least["minutes"]))
    return _below(judged, least, f"in the last {least['minutes']:g} minutes")


def _complaints(seen: Evidence, least: Mapping[str, float]) -> _Found:
    everybody = sum(c.complaining for c in seen.complaints)
    if everybody > least["members"]:
        return f"{everybody} members reported problems within an hour", {"members": everybody}
    for c in seen.complaints:
        if (
            c.complaining >= least["at_least"]
            and c.members < least["small"]
            and (c.complaining / max(c.members, 1) > least["share"])
        ):
            said = f"{c.complaining} of the {c.members} members of a community reported problems within an hour"
            return said, {"members": c.complaining, "of": c.members}
    return None


def _slow(seen: Evidence, least: Mapping[str, float]) -> _Found:
    times = sorted(o.duration_ms for o in _latest(_judged(seen.recent), seen.now, least))
    if len(times) < least["attempts"]:
        return None
    slowest = times[math.ceil(0.95 * len(times)) - 1]
    if slowest <= least["p95_ms"]:
        return None
    said = f"One offer in 20 took longer than {slowest:.0f} ms in the new engine, of the last {len(times)}"
    return f"{said}; {least['p95_ms']:g} ms is the most", {"p95_ms": slowest, "attempts": len(times)}


def _failing(seen: Evidence, least: Mapping[str, float]) -> _Found:
    judged = _latest(_judged(seen.recent), seen.now, least)
    return _below(judged, least, "lately")


def _one_code(seen: Evidence, least: Mapping[str, float]) -> _Found:
    judged = _latest(_judged(seen.recent), seen.now, least)
    codes = Counter(o.code or "unknown" for o in judged if o.kind == "failure")
    return _above(codes.most_common(1), judged, least, "failed with")


def _double_submits(seen: Evidence, least: Mapping[str, float]) -> _Found:
    latest = _latest([o for o in seen.recent if o.kind != "shared"], seen.now, least)
    codes = Counter(o.code for o in latest if o.code == EXISTS)
    return _above([(EXISTS, codes[EXISTS])], latest, least, "were answered")


def _no_data(seen: Evidence, least: Mapping[str, float]) -> _Found:
    if _judged(_within(seen.recent, seen.now, least["minutes"])):
        return None
    return f"No offer in the new engine in the last {least['minutes']:g} minutes: no data, nothing to judge", {}


_CHECKS: Final[Mapping[str, Callable[[Evidence, Mapping[str, float]], _Found]]] = {
    "violation": _violation,
    "probe": _probe,
    "detector": _detector,
    "success": _success,
    "complaints": _complaints,
    "slow": _slow,
    "failing": _failing,
    "one_code": _one_code,
    "double_submits": _double_submits,
    "probe_both": _probe_both,
    "no_data": _no_data,
}

_LATELY: Final = {"attempts": 20.0, "minutes": 15.0}
# Each threshold can be changed without a deploy: care.rollout_rules holds what was.
RULES: Final[Rules] = {
    "violation": Rule("rollback", {"count": 1}),
    "probe": Rule("rollback", {"times": 3}),
    "detector": Rule("rollback", {"level": TRIP_LEVEL, "helpers": 2}),
    "success": Rule("rollback", {"success": 0.85, "attempts": 20, "minutes": 10}),
    "complaints": Rule("rollback", {"members": 10, "share": 0.1, "small": 100, "at_least": 3}),
    "slow": Rule("warn", {"p95_ms": 500, **_LATELY}),
    "failing": Rule("warn", {"success": 0.95, **_LATELY}),
    "one_code": Rule("warn", {"share": 0.05, **_LATELY}),
    "double_submits": Rule("warn", {"share": 0.1, **_LATELY}),
    "probe_both": Rule("hold", {"times": 3}),
    "no_data": Rule("hold", {"minutes": 15}),
}


def in_force(changed: Mapping[str, Changed]) -> Rules:
    """The release's rules with what operators changed of them; rules of another release are passed over."""
    rules = dict(RULES)
    for name in rules.keys() & changed.keys():
        thresholds = {**rules[name].thresholds, **changed[name].thresholds}
        rules[name] = msgspec.structs.replace(rules[name], thresholds=thresholds, dry_run=changed[name].dry_run)
    return rules


def judge(evidence: Evidence, rules: Rules = RULES) -> Verdict:
    """What the evidence asks for by these rules: the strongest finding outside a dry run, and all findings.

    A probe that fails where nothing opens in V2 is a warning. Equally strong findings stand in the order of RULES.
    """
    findings = []
    for name, check in _CHECKS.items():
        rule = rules.get(name)
        found = None if rule is None else check(evidence, rule.thresholds)
        if rule is not None and found is not None:
            action: Action = "warn" if name == "probe" and not evidence.opens else rule.action
            findings.append(Finding(name, action, *found, rule.dry_run))
    live = [finding for finding in findings if not finding.dry_run]
    if not live:
        return Verdict("none", findings=tuple(findings))
    first = max(live, key=lambda finding: _STRENGTH[finding.action])
    return Verdict(first.action, first.rule, first.words, first.numbers, tuple(findings))


def _within(outcomes: Sequence[Outcome], now: float, minutes: float) -> list[Outcome]:
    # What lies ahead of the clock is no evidence of now: a clock was set back.
    return [o for o in outcomes if now - minutes * 60 < o.at <= now]


def _latest(outcomes: Sequence[Outcome], now: float, least: Mapping[str, float]) -> Sequence[Outcome]:
    """The last so many attempts, or those of the last minutes, whichever are more."""
    within = _within(outcomes, now, least["minutes"])
    by_count = outcomes[-int(least["attempts"]) :]
    return within if len(within) > len(by_count) else by_count


def _judged(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [o for o in outcomes if o.kind in ("success", "failure")]


def _below(judged: Sequence[Outcome], least: Mapping[str, float], when: str) -> _Found:
    worked = sum(o.kind == "success" for o in judged)
    if len(judged) < least["attempts"] or worked / max(len(judged), 1) >= least["success"]:
        return None
    codes = Counter(o.code or "unknown" for o in judged if o.kind == "failure")
    said = f"Of {len(judged)} offers in the new engine {when} {worked} succeeded ({worked / len(judged):.1%})"
    said += f"; the others failed ({_codes(codes)}), and {least['success']:.0%} is the least"
    return said, {"attempts": len(judged), "successes": worked}


def _above(codes: Sequence[tuple[str, int]], of: Sequence[Outcome], least: Mapping[str, float], verb: str) -> _Found:
    code, count = codes[0] if codes else ("", 0)
    if len(of) < least["attempts"] or count / max(len(of), 1) <= least["share"]:
        return None
    said = f"{count} of the last {len(of)} offers in the new engine {verb} {code} ({count / len(of):.1%})"
    return f"{said}; {least['share']:.0%} is the most", {"attempts": len(of), "code": code, "count": count}


def _codes(codes: Mapping[str, int]) -> str:
    if len(codes) == 1:
        return next(iter(codes))
    return ", ".join(f"{code} {count}" for code, count in sorted(codes.items(), key=lambda pair: (-pair[1], pair[0])))


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
