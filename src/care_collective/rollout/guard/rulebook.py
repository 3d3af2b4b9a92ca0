"""The guard's rules in operators' hands, and the history for the replay: calls with the owner's database."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite

import msgspec

from care_collective.db.call import Database
from care_collective.errors import CareError, Code
from care_collective.rollout import switch
from care_collective.rollout.guard.evidence import Outcome
from care_collective.rollout.guard.rules import RULES, Action, Changed, Moment, in_force


class Shown(msgspec.Struct, frozen=True):
    """A rule as it is in force, and who changed it last; None where it is as the release has it."""

    rule: str
    action: Action
    thresholds: dict[str, float]
    dry_run: bool = False
    updated_at: Moment | None = None
    updated_by: str | None = None


async def read_rules(owner: Database, flag: str) -> list[Shown]:
    """Every rule in force, the strongest first."""
    text = await owner.value("care.changed_rules", p_flag=flag)
    return shown(msgspec.json.decode(text, type=dict[str, Changed]))


def shown(changed: Mapping[str, Changed]) -> list[Shown]:
    """Every rule of the release with what operators changed of it, the strongest first."""
    rules = []
    for name, rule in in_force(changed).items():
        last = changed.get(name)
        who = () if last is None else (last.updated_at, last.updated_by)
        rules.append(Shown(name, rule.action, rule.thresholds, rule.dry_run, *who))
    return rules


def read_thresholds(rule: str, pairs: Sequence[str]) -> dict[str, float]:
    """Thresholds from texts such as level=2000000. Errors: CareError in words for what the rule does not have."""
    if rule not in RULES:
        raise CareError(Code.VALIDATION_ERROR, message=f"There is no rule {rule}; there are {', '.join(RULES)}.")
    found = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        known = RULES[rule].thresholds
        if name not in known:
            raise CareError(
                Code.VALIDATION_ERROR, message=f"{rule} has no threshold {name}; it has {', '.join(known)}."
            )
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not isfinite(value) or value < 0:
            raise CareError(Code.VALIDATION_ERROR, message=f"{name}: a number from 0 up, not {text!r}.")
        found[name] = value
    return found


async def change_rule(
    owner: Database,
    flag: str,
    rule: str,
    thresholds: Mapping[str, float],
    dry_run: bool | None,
    *,
    reason: str,
    by: str | None,
    login: str,
) -> None:
    """Changes a rule and records who, when and why. Errors: CareError with the refusal."""
    arguments = {
        "flag": flag,
        "rule": rule,
        "thresholds": msgspec.json.encode(thresholds).decode(),
        "dry_run": None if dry_run is None else str(dry_run).lower(),
        "reason": reason,
    }
    (await switch.command(owner, "rule", arguments, by=by, login=login)).success()


async def read_history(owner: Database, since: datetime | None) -> list[Outcome]:
    """Every closed attempt in V2 that was opened after `since`, in the order of closing."""
    return msgspec.json.decode(await owner.value("care.recorded_attempts", p_since=since), type=list[Outcome])
