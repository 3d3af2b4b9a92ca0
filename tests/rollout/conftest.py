"""What the tests of the guard stand on: a node's guard on a database of its own, and attempts as nodes write them."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from care_collective.db.call import Database
from care_collective.messaging import atomic, legacy
from care_collective.rollout.guard.watch import Guard
from harness import Care, Postgres, care

FLAG = "messaging_v2"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A database with the flag on, and one node's guard on it."""

    care: Care
    guard: Guard

    def another(self, database: Database | None = None) -> Guard:
        """The guard of another node."""
        return make_guard(database or self.care.database)

    async def attempts(
        self,
        pattern: str,
        *,
        ago: float = 120.0,
        version: str = "v2",
        helpers: Sequence[UUID] = (),
        code: str = "server_error",
        ms: float = 20.0,
    ) -> None:
        """Attempts opened one after another until `ago` seconds ago: + worked, - failed, = was shared, ? refused."""
        kinds = {"+": "success", "-": "failure", "=": "shared", "?": "answer"}
        for place, sign in enumerate(pattern):
            opened = ago + (len(pattern) - place) * 0.01
            await self.care.owner.execute(
                "insert into care.engine_outcomes (help_request_id, user_id, version, endpoint, opened_at, closed_at, "
                "success, code, kind, duration_ms, node_id) select $1, $2, $3, 'start-conversation', t.at, "
                "case when $5 in ('success', 'answer') then t.at end, "
                "case $5 when 'success' then true when 'failure' then false end, $6, $5, $7, $8 "
                "from (select clock_timestamp() - make_interval(secs => $4) as at) t",
                uuid4(),
                helpers[place % len(helpers)] if helpers else uuid4(),
                version,
                opened,
                kinds[sign],
                None if sign == "+" else code,
                ms,
                uuid4(),
            )

    async def stopped(self) -> str | None:
        """How the flag is stopped, or None."""
        value = await self.care.owner.fetchval("select stopped from care.rollout_flags where name = $1", FLAG)
        return None if value is None else str(value)

    async def changes(self, action: str) -> list[dict[str, Any]]:
        """The flag's history of one action, oldest first."""
        rows = await self.care.owner.fetch(
            "select * from care.rollout_changes where action = $1 order by at, generation", action
        )
        return [dict(row) for row in rows]

    async def resume(self) -> None:
        """A person lets the flag go on for all, a second ago."""
        await self.care.owner.fetchval("select care.resume_rollout($1, 'on', 'Olga', null, 'It is mended.')", FLAG)
        await self.care.owner.execute(
            "update care.rollout_changes set at = at - interval '1 second' where action = 'resume'"
        )


def make_guard(database: Database, *, clock: Callable[[], float] = time.monotonic) -> Guard:
    """A node's guard."""
    return Guard(database, {"v1": legacy.start, "v2": atomic.start}, members=database, node_id=uuid4(), clock=clock)


# A database a test takes a second or two; what these tests write is little, and is taken away.
_CLEAN = """
delete from care.engine_outcomes;
delete from care.problem_reports;
delete from care.rollout_changes;
delete from care.rollout_detectors;
delete from care.rollout_episodes;
delete from care.rollout_rules;
delete from care.rollout_nodes;
delete from care.operators;
update care.rollout_flags set stage = 'on', stopped = null, retired_at = null;
update care.rollout_probes set due_at = now(), node_id = null, probed_at = null, v2_alone = 0, v1_too = 0, code = null;
update care.rollout_checks set due_at = now(), place = null, place_community = null, suspects = '{}',
  suspect_communities = '{}', found = 0, detail = null;
"""


@pytest.fixture(scope="session")
async def guarded(postgres: Postgres) -> AsyncIterator[Care]:
    """One database for all tests of the guard: there is one flag in each."""
    async with care(postgres, await postgres.create()) as opened:
        yield opened


@pytest.fixture
async def deployed(guarded: Care) -> Deployment:
    """A deployment as if nothing had been in it, apart from conversations that are sound."""
    await guarded.owner.execute(_CLEAN)
    return Deployment(guarded, make_guard(guarded.database))
