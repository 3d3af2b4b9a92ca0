"""Which engine opens a new conversation for a helper, and which source decides it. Rules: rollout.md.

Pure: no clock, no environment, no database.
"""

from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Final, Literal, cast
from uuid import UUID

import msgspec

from care_collective.settings import STAGE, STAGE_RULE

MESSAGING_V2: Final = "messaging_v2"
BUCKETS: Final = 10_000  # a bucket is a hundredth of a percent of all members

Kind = Literal["off", "internal", "percentage", "on"]  # no enum: its members cost 0.1 µs a look, of 2 allowed


class Stage(msgspec.Struct, frozen=True):
    """How far V2 is opened. `share` is in hundredths of a percent, 0..10000, and 0 unless the kind is percentage.

    Raises ValueError for another share.
    """

    kind: Kind
    share: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= (BUCKETS if self.kind == "percentage" else 0):
            raise ValueError(STAGE_RULE)

    @classmethod
    def parse(cls, text: str) -> "Stage":
        """The stage that `text` names, white space at its ends apart. Raises ValueError, whose words are the rule."""
        found = STAGE.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"a stage {STAGE_RULE}")
        if found["share"] is None:
            return cls(cast(Kind, found[0]))
        return cls("percentage", int(Decimal(found["share"]) * 100))

    def __str__(self) -> str:
        """The canonical text, which `parse` reads back: percentage:12.5, never percentage:12.50."""
        if self.kind != "percentage":
            return self.kind
        whole, part = divmod(self.share, 100)
        return f"percentage:{whole}" + (f".{part:02d}".rstrip("0") if part else "")


OFF: Final = Stage("off")
INTERNAL: Final = Stage("internal")
ON: Final = Stage("on")


def bucket(user_id: UUID | str, salt: str = "", flag: str = MESSAGING_V2) -> int:
    """The member's place in 0..9999: the same in every process at every stage; another salt or flag shuffles all.

    A text is the id in its canonical form, lower-case with hyphens.
    """
    if not isinstance(user_id, str):
        h = user_id.bytes.hex()  # str(user_id) takes 0.3 µs longer, of 2 allowed
        user_id = f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
    return int.from_bytes(sha256(f"{flag}:{salt}:{user_id}".encode()).digest()[:4], "big") % BUCKETS


def is_for_all(stage: Stage) -> bool:
    """Whether a new conversation opens in V2 whoever the helper is."""
    return stage.kind == "on" or stage.share == BUCKETS


def uses_v2(stage: Stage, user_id: UUID | str, *, in_cohort: bool, salt: str = "", flag: str = MESSAGING_V2) -> bool:
    """Whether a new conversation of this helper opens in V2; for another flag, whether that is on for them.

    `user_id` as `bucket` takes it.
    """
    if stage.kind == "off":
        return False
    if stage.kind == "on" or in_cohort:
        return True
    return stage.kind == "percentage" and bucket(user_id, salt, flag) < stage.share


def needs_cohort(stage: Stage, user_id: UUID, *, salt: str = "") -> bool:
    """Whether `uses_v2` depends on `in_cohort` here; where not, the caller saves the look-up."""
    return uses_v2(stage, user_id, in_cohort=True, salt=salt) != uses_v2(stage, user_id, in_cohort=False, salt=salt)


class Source(StrEnum):
    """Where the stage in force comes from, highest first."""

    ENVIRONMENT_ENABLED = "environment:enabled"
    DATABASE_KILLED = "database:killed"
    ENVIRONMENT_STAGE = "environment:stage"
    DATABASE_STAGE = "database:stage"
    DEFAULT = "default"


# Off by a switch and not by the stage: V2 opens nothing, even for who calls it by name.
SWITCHED_OFF: Final = frozenset({Source.ENVIRONMENT_ENABLED, Source.DATABASE_KILLED})


class Declared(msgspec.Struct, frozen=True):
    """What the environment of this node says: MESSAGING_V2_ENABLED and MESSAGING_V2_ROLLOUT; None where not set."""

    enabled: bool | None = None
    stage: Stage | None = None

    @classmethod
    def of(cls, enabled: bool | None, rollout: str | None) -> "Declared":
        """From the two settings, the stage as text. Raises ValueError for a text that is no stage."""
        return cls(enabled, None if rollout is None else Stage.parse(rollout))


class Stored(msgspec.Struct, frozen=True):
    """What the database says: the stage as it stands there, None for no row; stopped is killed or tripped.

    `cohort`: the members who are named; empty where nobody is. `generation` rises with every change of any flag.
    `retired`: what stood behind the flag is gone, and off means paused.
    """

    stage_text: str | None = None
    stopped: bool = False
    salt: str = ""
    cohort: frozenset[UUID] = frozenset()
    generation: int = 0
    retired: bool = False


class Decision(msgspec.Struct, frozen=True):
    """The stage in force on this node and its source. `alarm`: the stored stage cannot be read, whoever decides.

    `salt` and `cohort` are the row's own, whatever declares the stage; an empty cohort names nobody.
    """

    stage: Stage
    source: Source
    alarm: bool = False
    salt: str = ""
    cohort: frozenset[UUID] = frozenset()


def in_force(environment: Declared, stored: Stored = Stored()) -> Decision:  # noqa: B008  frozen
    """The stage in force on this node, by 'Precedence' of rollout.md: off beats on, and the unreadable is off."""
    readable, alarm = OFF, False
    if stored.stage_text is not None:
        try:
            readable = Stage.parse(stored.stage_text)
        except ValueError:
            alarm = True
    stage, source = _winner(environment, stored, readable)
    return Decision(stage, source, alarm, stored.salt, stored.cohort)


def _winner(environment: Declared, stored: Stored, readable: Stage) -> tuple[Stage, Source]:
    if environment.enabled is False:
        return OFF, Source.ENVIRONMENT_ENABLED
    if stored.stopped:
        return OFF, Source.DATABASE_KILLED
    if environment.stage is not None or environment.enabled:
        return environment.stage or ON, Source.ENVIRONMENT_STAGE
    return readable, Source.DEFAULT if stored.stage_text is None else Source.DATABASE_STAGE
