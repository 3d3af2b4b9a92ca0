"""Gathers one rollback: what happened, the attempts that failed, where to look next, how to bring it about again."""

import re
from typing import Any, Final
from uuid import UUID

import msgspec

from care_collective.db.call import Database

_MOST_REFERENCES: Final = 10
# As the door makes them. What a member calls a reference is any text, and stands in no command to be copied.
_REFERENCE: Final = re.compile("[0-9a-f]{32}", re.ASCII)
# The rehearsal (`rollout rehearse --fault`) that breaks V2 as each rule sees it, or each kind of reason of a person's.
_FAULTS: Final = {
    "violation": "violation",
    "data-loss": "violation",
    "slow": "latency",
    "probe": "raising",
    "detector": "raising",
    "success": "raising",
    "failing": "raising",
    "one_code": "raising",
    "errors": "raising",
}
# Where connections broke or had to be waited for, it was the server and no statement of ours.
_AWAY: Final = "unavailable"


class Incident(msgspec.Struct, frozen=True):
    """One rollback or warning.

    `change` is its row of the history, `codes` how attempts in V2 between `since` and `until` ended, `attempts` the
    newest 100 that failed, `problems` what members told of, without their words. `look_for` and `rehearse` are next.
    """

    change: dict[str, Any]
    since: str
    until: str
    codes: dict[str, int]
    attempts: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    resumed: dict[str, Any] | None
    look_for: list[str] = []
    rehearse: str = ""


async def gather(owner: Database, flag: str, change_id: UUID | None = None) -> Incident:
    """The incident of a change, or the newest rollback's. Errors: CareError `not_found`."""
    answer = await owner.call("care.incident_json", p_flag=flag, p_id=change_id)
    found = msgspec.convert(answer.data(), Incident)
    return msgspec.structs.replace(found, look_for=_look_for(found), rehearse=_rehearse(found))


def _look_for(found: Incident) -> list[str]:
    """What to look at, the nearest first: lines of the log by name and reference, and commands."""
    why = found.change["why"]
    hints = []
    given = (one["reference"] or "" for one in (*found.attempts, *found.problems))
    references = list(dict.fromkeys(filter(_REFERENCE.fullmatch, given)))[:_MOST_REFERENCES]
    if why in ("violation", "data-loss"):
        hints.append("care-collective doctor names the rows; make a backup before anything is changed by hand")
    if why in ("probe", "detector", "success"):
        hints.append(
            "`guard.probe_failed` in the log: v1 and v2 are the codes by which the probe failed in each engine"
        )
    if why in ("slow", "detector", "success", "failing"):
        hints.append("`messaging.conversation.created` in the log: its duration_ms")
    if found.attempts:
        hints.append("`messaging.error` in the log: version v2, error_code, and the reference as request_id")
    if references:
        hints.append(f"all lines of these requests: grep -E '{'|'.join(references)}' LOG")
    if _AWAY in found.codes:
        hints.append("PostgreSQL's own log at these times: what ended or refused connections")
    return [*hints, "`guard.rolled_back` and `rollout.flag` in the log: what led to it, and when each node followed"]


def _rehearse(found: Incident) -> str:
    failing = [one["code"] for one in found.attempts]
    fault = _FAULTS.get(found.change["why"] or "", "all")
    if fault == "raising" and failing.count(_AWAY) * 2 > len(failing):
        fault = "killed-backends"
    return f"care-collective rollout rehearse --fault {fault}"
