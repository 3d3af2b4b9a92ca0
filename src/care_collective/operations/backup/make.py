"""Makes a backup while members go on writing: pg_dump, counts and checksums see one and the same moment."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import asyncpg

from care_collective import __version__
from care_collective.db.migrate import LOCK
from care_collective.errors import SettingsError
from care_collective.operations.backup import programs
from care_collective.operations.backup.archive import Archive, Manifest, dump_digest, read, refusal, seal
from care_collective.operations.backup.counts import become_owner, contents
from care_collective.operations.connect import connect, in_words

Tell = Callable[[str], None]

# Tables and views of others in our schemas, which the owner may not read: patterns for --exclude-table.
_STRANGERS: Final = """
select format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""'))
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n
    on n.oid = c.relnamespace
 where n.nspname in ('public', 'care')
   and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
   and c.relowner <> 'care_owner'::pg_catalog.regrole
"""
# A copy of a database, on this server or elsewhere, is another one.
ORIGIN: Final = (
    "select s.system_identifier || '/' || d.oid from pg_catalog.pg_control_system() s, pg_catalog.pg_database d "
    "where d.datname = current_database()"
)


@dataclass(frozen=True, slots=True)
class Made:
    """A finished backup. `note` says in words what is particular about it, if anything."""

    archive: Archive
    note: str | None


async def make(url: str, setting: str, folder: Path, *, tell: Tell) -> Made:
    """Backs up the database of an owner's URL into a new file of `folder`, mode 0600, complete or not there at all.

    The database may be of any earlier release. Errors: SettingsError where the folder, the server or the programs do
    not allow it; CareError for a database without anything of ours.
    """
    _require_writable(folder)
    connection = await connect(url, setting)
    try:
        with in_words(setting):
            if not await connection.fetchval("select to_regclass('care.schema_migrations') is not null"):
                raise refusal("The database is empty: there is nothing to back up.")
            # A migration waits for the backup, and the other way round.
            await connection.execute("select pg_advisory_lock_shared($1)", LOCK)
            return await _make(connection, url, folder, tell)
    finally:
        await connection.close()


async def _make(connection: asyncpg.Connection, url: str, folder: Path, tell: Tell) -> Made:
    server = await programs.target(url, connection)
    tools = programs.to_dump(server)
    origin = await connection.fetchval(ORIGIN)
    temporary: Path | None = None
    try:
        temporary = _temporary(folder)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            made_at: datetime = await connection.fetchval("select now()")
            snapshot = await connection.fetchval("select pg_export_snapshot()")
            strangers = [row[0] for row in await connection.fetch(_STRANGERS)]
            await become_owner(connection)
            tell("Writing the backup")
            await programs.run(
                *(tools, "pg_dump", "--format=custom", f"--file={temporary}", f"--snapshot={snapshot}"),
                *("--role=care_owner", "--schema=public", "--schema=care", "--lock-wait-timeout=60s"),
                *(f"--exclude-table={pattern}" for pattern in strangers),
                server=server,
            )
            tell("Counting what is in it")
            tables = await contents(connection)
            ledger = await connection.fetch("select version, checksum from care.schema_migrations")
            release = await _release(connection)
        seal(
            temporary,
            Manifest(
                release, made_at, origin, server.version, tools.version, dict(ledger), tables, *dump_digest(temporary)
            ),
        )
        path = _name(temporary, folder, made_at, release)
        temporary = None
    except OSError as error:
        raise _in_words(error, folder) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    tell("Reading it again")
    return Made(read(path), _note(server, tools))


async def _release(connection: asyncpg.Connection) -> str:
    """The release whose functions are in force: the last writer is the newest (db/migrate.py)."""
    written = await connection.fetchval("select release from care.schema_functions order by applied_at desc limit 1")
    return str(written or __version__)


def _note(server: programs.Target, tools: programs.Tools) -> str | None:
    if tools.version == server.version:
        return None
    return (
        f"pg_dump {tools.version} made it of a PostgreSQL {server.version}, for want of one of that version: "
        f"it can be restored into PostgreSQL {tools.version} and newer."
    )


def _require_writable(folder: Path) -> None:
    if not folder.is_dir():
        there = "is no folder" if folder.exists() else "is not there"
        raise SettingsError(f"{folder} {there}. Make the folder first, or see whether its disk is mounted.")


def _temporary(folder: Path) -> Path:
    handle, name = tempfile.mkstemp(prefix=".care-collective-", suffix=".part", dir=folder)  # mode 0600
    os.close(handle)
    return Path(name)


def _name(temporary: Path, folder: Path, made_at: datetime, release: str) -> Path:
    """Gives a finished backup its name: when in UTC, and the release; of no community."""
    stem = f"care-collective-{made_at:%Y-%m-%d-%H%M%S}Z-{release}"
    path, number = folder / f"{stem}.dump", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.dump"
    temporary.rename(path)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)  # the rename has to outlive a power cut
    finally:
        os.close(handle)
    return path


def _in_words(error: OSError, folder: Path) -> SettingsError:
    return SettingsError(f"No backup can be written into {folder}: {error.strerror}. Nothing was left there.")
