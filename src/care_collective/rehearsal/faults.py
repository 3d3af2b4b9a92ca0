"""The faults that a rehearsal knows: how each breaks V2, and what the rules say has to come of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, Literal

import asyncpg

SQL: Final = files("care_collective.rehearsal") / "sql"
_KILL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to break V2, by its function in sql/faults.sql.

    `expected`: `trip` is a rollback; `warn` where the rules only warn, and V2 stays open. `kills`: backends are killed
    in V2's calls meanwhile.
    """

    words: str
    expected: Literal["trip", "warn"]
    function: str
    kills: bool = False


# In the order in which `all` takes them, the quickest first.
FAULTS: Final[Mapping[str, Fault]] = {
    "violation": Fault("a row of V2 is in a state that must never be", "trip", "break_violation"),
    "raising": Fault("V2's function raises", "trip", "break_raising"),
    "killed-backends": Fault(
        "PostgreSQL's processes are killed in V2's calls, before they commit", "trip", "break_killed_backends", True
    ),
    "latency": Fault("V2's function takes 0.7 seconds longer; the rules only warn of that", "warn", "break_latency"),
}


@asynccontextmanager
async def broken(owner: asyncpg.Connection, killer: asyncpg.Connection, fault: Fault) -> AsyncIterator[None]:
    """V2 broken for as long as the block runs. Both connections have all rights on a scratch database."""
    await owner.execute(f"select rehearsal.{fault.function}()")
    killing = asyncio.create_task(_kill(killer)) if fault.kills else None
    try:
        yield
    finally:
        if killing is not None:
            killing.cancel()
            await asyncio.wait([killing])
        await owner.execute("select rehearsal.mend()")


async def _kill(killer: asyncpg.Connection) -> None:
    while True:
        await killer.execute("select rehearsal.kill_backends()")
        await asyncio.sleep(_KILL_SECONDS)
