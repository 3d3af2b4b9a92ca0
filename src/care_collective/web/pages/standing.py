"""How a rollout stands, in one word for its page to say, and what an operator should look at. Pure."""

from datetime import timedelta
from typing import Final, Literal

from care_collective.rollout.kpis import Kpis, declaring
from care_collective.rollout.policy import Stage, is_for_all

Standing = Literal["stopped", "declared", "differing", "unreadable", "off", "internal", "percentage", "on"]
Concern = Literal[
    "violations", "no_node", "lagging", "not_watching", "probe", "rising", "warned", "dry", "untold",
]  # fmt: skip

# Well above where the detector begins after a resume (29), far below where it trips.
RISING: Final = 100.0
_LATELY: Final = timedelta(hours=1)


def standing(found: Kpis) -> Standing:
    """What decides now. What the environment of all nodes declares stands above the stage in the database."""
    rollout = found.rollout
    if rollout.stopped is not None:
        return "stopped"
    if len(declaring(rollout)) == len(rollout.nodes) > 0:
        return "declared"
    if declaring(rollout):
        return "differing"
    return _of(rollout.stage) if rollout.readable else "unreadable"


def _of(stage: str) -> Standing:
    parsed = Stage.parse(stage)
    return "on" if is_for_all(parsed) else parsed.kind


def concerns(found: Kpis) -> list[Concern]:
    """What is not as it should be, the gravest first; nothing where all is well."""
    rollout, guard, probe = found.rollout, found.guard, found.guard.probe
    began = max(rollout.since, found.numbers.until - _LATELY)
    held: dict[Concern, bool] = {
        "violations": bool(found.numbers.violations),
        "probe": probe is not None and probe.v2_alone + probe.both > 0,
        "rising": guard.level is not None and guard.level >= RISING,
        "warned": any(change.action == "warn" and change.at >= began for change in rollout.changes),
        "no_node": not rollout.nodes,
        "lagging": any(node.generation < rollout.generation for node in rollout.nodes),
        "not_watching": bool(rollout.nodes) and not guard.watching,
        "dry": any(rule.dry_run and rule.action == "rollback" for rule in guard.rules),
        "untold": guard.untold > 0,
    }
    return [name for name, holds in held.items() if holds]
