"""What is measured: a scratch PostgreSQL with a migrated database and people in it, and the site served over it.

The site is a child process, started as `care-collective serve` is, with everything on: tokens, keys, limits that are
counted and out of reach, the outbox, the log. Everything is in one scratch folder that is removed.
"""

import asyncio
import os
import re
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from secrets import token_urlsafe
from types import MappingProxyType
from typing import Final
from uuid import UUID

import asyncpg

from care_collective.accounts import tokens
from care_collective.bench.report import failure
from care_collective.db.call import Caller
from care_collective.db.embedded import Server, running
from care_collective.db.migrate import migrate

Tell = Callable[[str], None]

SQL: Final = files("care_collective.bench") / "sql"
OWNERS: Final = 64
HELPER, OWNER, REQUEST, CONVERSATION = 1, 2, 3, 4
COMMUNITY_ID: Final = UUID("00000000-0000-4000-8000-900000000001")
_SOURCE: Final = str(Path(__file__).parents[2])
_READY: Final = re.compile(rb"is ready at http://([\w.]+):(\d+)")
_START_SECONDS: Final = 60
_STOP_SECONDS: Final = 15
_TOKEN_SECONDS: Final = 24 * 3600


def identity(kind: int, number: int) -> UUID:
    """The id of a thing of the scratch database, as bench.id makes it."""
    return UUID(f"00000000-0000-4000-8000-{kind * 100_000_000_000 + number}")


def helper(number: int, key: str | None = None) -> Caller:
    """Helper `number` (from 1) as the web process would pass them."""
    return Caller(identity(HELPER, number), COMMUNITY_ID, key, "0" * 20 + str(100_000_000_000 + number))


@dataclass(frozen=True, slots=True)
class Stand:
    """A running scratch server and its folder."""

    folder: Path
    server: Server

    def url(self, user: str, database: str) -> str:
        """Where a role finds a database."""
        return self.server.dsn(user=user, database=database)


@asynccontextmanager
async def stand(*, tell: Tell, purpose: str = "bench") -> AsyncIterator[Stand]:
    """A scratch PostgreSQL with the settings of an embedded one while the block runs; `purpose` names its folder."""
    tell("Starting a scratch PostgreSQL")
    with tempfile.TemporaryDirectory(prefix=f"care-collective-{purpose}-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root the server runs as another user, who has to pass  # noqa: ASYNC240
        async with running(folder / "postgres") as server:
            yield Stand(folder, server)


@asynccontextmanager
async def database(
    on: Stand, name: str, *, members: int, requests: int, each: int = 0, busy: int = 0, owners: int = OWNERS
) -> AsyncIterator[asyncpg.Connection]:
    """A migrated database with a community, `members` helpers and requests 1 to `requests`: the owner's connection.

    Each helper has `each` conversations; where `busy` is given, helper 1 has so many.
    """
    admin = await asyncpg.connect(on.server.dsn())
    await admin.execute(f"create database {name}")
    await admin.close()
    owner = await asyncpg.connect(on.url("postgres", name))
    try:
        await migrate(owner)
        await owner.execute((SQL / "stage.sql").read_text("utf-8"))
        await owner.execute("select bench.make_community()")
        await owner.fetchval("select bench.make_members($1, $2)", HELPER, members)
        await owner.fetchval("select bench.make_members($1, $2)", OWNER, owners)
        await owner.fetchval("select bench.make_requests(1, $1, $2)", requests, owners, timeout=600)
        # Foreign keys hold by the way that the rows are made; asking for each takes most of a million's time.
        await owner.execute("set session_replication_role = replica")
        talking = busy or each
        for first, last, number in ((1, 1, talking), (2, members, each)):
            await owner.fetchval(
                "select bench.make_conversations($1, $2, $3, $4, $5)",
                first,
                last,
                number,
                talking,
                owners,
                timeout=1800,
            )
        await owner.execute("reset session_replication_role")
        await owner.execute("vacuum analyze", timeout=600)
        yield owner
    finally:
        await owner.close()


@dataclass(frozen=True, slots=True)
class Site:
    """The served site: where it listens, its process, and the secret of its tokens."""

    host: str
    port: int
    pid: int
    secret: str

    def token(self, user_id: UUID) -> str:
        """An access token of a member."""
        return tokens.issue(
            self.secret,
            user_id=user_id,
            community_id=COMMUNITY_ID,
            now=datetime.now(UTC),
            lifetime_seconds=_TOKEN_SECONDS,
        )


@asynccontextmanager
async def site(on: Stand, name: str) -> AsyncIterator[Site]:
    """The site over a database of the stand, with V2 open to all."""
    secret = token_urlsafe(48)
    environment = {
        "DATABASE_URL": on.url("care_app", name),
        "DATABASE_OWNER_URL": on.url("postgres", name),
        "CARE_SECRET_KEY": token_urlsafe(48),
        "CARE_JWT_SECRET": secret,
        "MESSAGING_V2_ROLLOUT": "on",
    }
    async with served(on.folder / "site", environment) as (process, host, port):
        yield Site(host, port, process.pid, secret)


@asynccontextmanager
async def served(
    folder: Path,
    environment: Mapping[str, str] = MappingProxyType({}),
    *,
    command: tuple[str, ...] = (sys.executable, "-P", "-m", "care_collective", "serve"),
) -> AsyncIterator[tuple[Process, str, int]]:
    """`serve` as a child with its data in `folder`: the process, host and port once it listens. Ended with the block.

    Errors: CareError with its last words when it does not listen in a minute.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    whole = {**kept, "PYTHONPATH": _SOURCE, "CARE_DATA_DIR": str(folder), "CARE_HOST": "127.0.0.1", "CARE_PORT": "0"}
    folder.mkdir(mode=0o711, exist_ok=True)  # noqa: ASYNC240  nobody else waits
    log = folder / "serve.log"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command, env={**whole, **environment}, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=errors
        )
    try:
        host, port = await asyncio.wait_for(_address(process, log), _START_SECONDS)
        yield process, host, port
    except TimeoutError as error:
        raise failure(f"The site was not ready in {_START_SECONDS} s.") from error
    finally:
        await _end(process)


async def _address(process: Process, log: Path) -> tuple[str, int]:
    assert process.stdout is not None
    async for line in process.stdout:
        found = _READY.search(line)
        if found is not None:
            return found[1].decode(), int(found[2])
    words = "\n".join(log.read_text(errors="replace").splitlines()[-20:])  # noqa: ASYNC240  it has ended
    raise failure(f"The site did not start. Its last words:\n{words}")


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
