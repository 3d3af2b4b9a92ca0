"""What the rules judge by: attempts as they closed, and what stands beside them. Values only."""

from typing import Final

import msgspec

from care_collective.rollout.guard.detector import Detector
from care_collective.rollout.outcomes import Kind

EXISTS: Final = "conversation_exists"


class Outcome(msgspec.Struct, frozen=True):
    """One closed attempt in V2: when, in seconds since 1970 by the database's clock, how, whose, how long.

    `shared` is a failure that V1 had at the same time, `answer` a refusal that is no failure (rollout.md, counting).
    """

    at: float
    kind: Kind
    helper: str
    code: str | None = None
    duration_ms: float = 0.0


class Probe(msgspec.Struct, frozen=True):
    """How often running the probe failed: in V2 while V1 passed, and in both; `code` is V2's last."""

    v2_alone: int = 0
    both: int = 0
    code: str | None = None


class Complaints(msgspec.Struct, frozen=True):
    """How many distinct members of one community reported a problem within the hour, of how many members."""

    complaining: int
    members: int


class Violations(msgspec.Struct, frozen=True):
    """Rows of V2 in a state that must never be: how many were found, and the first one in words."""

    count: int = 0
    first: str = ""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that one look sees. `recent`: attempts in the order of closing, the newest last.

    `opens`: whether anything opens in V2 by the stage in force. A probe that fails where nothing does harms nobody.
    """

    now: float
    detector: Detector = Detector()
    recent: tuple[Outcome, ...] = ()
    violations: Violations = Violations()
    probe: Probe = Probe()
    complaints: tuple[Complaints, ...] = ()
    opens: bool = True


def advance(detector: Detector, outcome: Outcome) -> Detector:
    """The detector after this attempt. Answers and shared failures say nothing of V2 and leave it as it is."""
    if outcome.kind == "success":
        return detector.worked()
    if outcome.kind == "failure":
        return detector.failed(outcome.helper, outcome.code or "unknown")
    return detector
