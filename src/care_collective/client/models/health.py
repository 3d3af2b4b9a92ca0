"""How a node is, and what is on for the caller."""

import msgspec


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """Which features are on for the caller."""

    messaging_v2: bool


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """The flag as a node sees it; `alarm`: the stored stage cannot be read, or nothing has been read for 10 seconds.

    `stale` is the latter: the state is the last one known. `generation` rises with every change of a flag.
    `off_means` where who is outside V2 opens: v1, or once that is retired paused, nowhere.
    `guard` is watching, or blind when it has seen nothing for 30 seconds; `alerts_not_sent` wait for another try.
    """

    messaging_v2: str
    source: str
    alarm: bool
    stale: bool
    generation: int
    off_means: str
    guard: str
    alerts_not_sent: int


class Migrations(msgspec.Struct, frozen=True, kw_only=True):
    """How many migrations are applied, and why the database is not this release's where it is not."""

    applied: int
    problem: str | None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a node and its database are; `status` is ok, behind or unavailable. `listening`: live streams are prompt."""

    version: str
    flag: Flag
    status: str
    database: str
    listening: bool
    server_version: int | None = None
    migrations: Migrations | None = None
    outbox_lag_seconds: float | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a node answers, or can serve: ok, behind or unavailable."""

    status: str
