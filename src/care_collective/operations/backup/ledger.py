"""Remembers in the database which backups were verified, and asks for one before a migration."""

import os
import pwd
import socket
from typing import Final

import asyncpg
import msgspec

from care_collective import __version__
from care_collective.db.migrate import make_ledgers, plan
from care_collective.errors import CareError, Code
from care_collective.operations.backup.archive import Archive
from care_collective.operations.backup.make import ORIGIN

_HOURS: Final = 24
_RECENT: Final = """
select exists (
  select
    from care.backups b
   where b.event = 'verified'
     and b.origin = $1
     and least(b.created_at, b.made_at) > now() - make_interval(hours => $2))
"""
_INSERT: Final = (
    "insert into care.backups (event, file_name, file_sha256, origin, made_at, row_counts, reason, release, done_by) "
    "values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
)

# The guard's probe has a community of its own, in which nobody is.
_MEMBERS: Final = (
    "select exists (select from public.profiles p join public.communities c on c.id = p.community_id "
    "where not c.is_probe)"
)


async def wanted(connection: asyncpg.Connection) -> bool:
    """Whether migrating now would change the tables of people: migrations wait, and the database has members."""
    if not (await plan(connection)).migrations:
        return False
    if not await connection.fetchval("select to_regclass('public.profiles') is not null"):
        return False
    return bool(await connection.fetchval(_MEMBERS))


async def recent(connection: asyncpg.Connection) -> bool:
    """Whether a backup of this very database was made and verified within 24 hours."""
    if not await connection.fetchval("select to_regclass('care.backups') is not null"):
        return False
    return bool(await connection.fetchval(_RECENT, await connection.fetchval(ORIGIN), _HOURS))


async def demand(connection: asyncpg.Connection) -> None:
    """Refuses, as CareError, unless a backup of this very database was made and verified within 24 hours."""
    if await recent(connection):
        return
    raise CareError(
        Code.CONFLICT,
        message=(
            f"This database has members, and no backup of it was made and verified within {_HOURS} hours. "
            "Run `care-collective backup`, then `care-collective backup verify FILE`, then `migrate` again; "
            'or say why not: `care-collective migrate --without-backup "reason"`. Nothing was changed.'
        ),
    )


async def waive(connection: asyncpg.Connection, reason: str) -> None:
    """Remembers why a migration ran without a backup."""
    await _insert(connection, "waived", None, reason)


async def note(connection: asyncpg.Connection, archive: Archive) -> str | None:
    """Remembers a verified backup where it is one of this database; answers why not, in words, where it is none."""
    if not await connection.fetchval("select to_regclass('care.schema_migrations') is not null"):
        return "the deployment's database is empty"
    if archive.manifest.origin != await connection.fetchval(ORIGIN):
        return "it is of another database than this deployment's"
    await remember(connection, "verified", archive)
    return None


async def remember(connection: asyncpg.Connection, event: str, archive: Archive) -> None:
    """Remembers what was done with a backup: `verified` or `restored`."""
    await _insert(connection, event, archive, None)


async def _insert(connection: asyncpg.Connection, event: str, archive: Archive | None, reason: str | None) -> None:
    facts: tuple[object, ...] = (None,) * 5
    if archive is not None:
        manifest = archive.manifest
        rows = {table: held.rows for table, held in manifest.tables.items()}
        counts = msgspec.json.encode(rows).decode()
        facts = (archive.path.name, archive.sha256, manifest.origin, manifest.made_at, counts)
    # A database that waits for its migration may be older than this ledger.
    await make_ledgers(connection)
    async with connection.transaction():
        await connection.execute("set local role care_owner")
        await connection.execute(_INSERT, event, *facts, reason, __version__, _who())


def _who() -> str:
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
