"""Brings a database to this release and says whether one is: bootstrap, migrations, functions, grants, in that order.

The SQL lies in care_collective/sql. Migrations run once and never change; function files are the current text of
every function and run again whenever that text changes.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

import asyncpg

from care_collective import __version__
from care_collective.errors import SettingsError

_SQL: Final[Traversable] = files("care_collective") / "sql"
_OLDEST_SERVER: Final = 150000
# One number for every deployment of this software: two migrators of one database take turns, and backups share it.
LOCK: Final = 0x43617265
_BOOTSTRAP_ATTEMPTS: Final = 10

_INCOMPATIBLE: Final = "The database is marked incompatible with this release by migration {}. Upgrade the software."

_LEDGER: Final = """
create table if not exists care.schema_migrations (
  version integer not null,
  name text not null,
  checksum text not null,
  incompatible boolean not null default false,
  release text not null,
  applied_at timestamptz not null default now(),
  constraint schema_migrations_pkey primary key (version)
);
comment on table care.schema_migrations is 'Which migrations ran, with the checksum of the text that ran.';
create table if not exists care.schema_functions (
  room text not null,
  checksum text not null,
  release text not null,
  applied_at timestamptz not null default now(),
  constraint schema_functions_pkey primary key (room)
);
comment on table care.schema_functions is 'The text of each function file that is in force, by checksum.';
create table if not exists care.backups (
  id uuid not null default gen_random_uuid(),
  event text not null,
  file_name text,
  file_sha256 text,
  origin text,
  made_at timestamptz,
  row_counts jsonb,
  reason text,
  release text not null,
  done_by text not null,
  created_at timestamptz not null default now(),
  constraint backups_pkey primary key (id),
  constraint backups_event_check check (event in ('verified', 'restored', 'waived')),
  constraint backups_facts_check check (
    (event = 'waived') = (reason is not null) and (event = 'waived') = (file_sha256 is null))
);
comment on table care.backups is
  'Backups that were verified or restored here, and migrations that an operator ran without one.';
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of sql/migrations. `incompatible` marks one after which older releases must not run."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return _checksum(self.text)

    @property
    def incompatible(self) -> bool:
        """Whether releases that do not know this migration must refuse the database."""
        return "\n-- incompatible with earlier releases" in self.text


@dataclass(frozen=True, slots=True)
class Plan:
    """What a database lacks: migrations to run and function rooms to write anew."""

    migrations: tuple[Migration, ...]
    rooms: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.migrations and not self.rooms


@cache
def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache  # a running process is of the release that it was started as, and its health is asked every few seconds
def _read(folder: str) -> dict[str, str]:
    found = (_SQL / folder).iterdir()
    return {entry.name.removesuffix(".sql"): entry.read_text("utf-8") for entry in sorted(found, key=lambda e: e.name)}


def migrations() -> tuple[Migration, ...]:
    """Every migration of this release, in order."""
    return tuple(
        Migration(int(name[:4]), name, text)
        for name, text in _read("migrations").items()
        if re.fullmatch(r"\d{4}_[a-z0-9_]+", name)
    )


def rooms() -> dict[str, str]:
    """The text of every function file of this release, and of the grants that follow them, by room."""
    return {**_read("functions"), "grants": (_SQL / "grants.sql").read_text("utf-8")}


async def plan(connection: asyncpg.Connection) -> Plan:
    """What `migrate` would do to this database. Errors: SettingsError where it is none of ours."""
    if not await connection.fetchval("select to_regclass('care.schema_migrations') is not null"):
        await _refuse_strangers(connection)
        return Plan(migrations(), tuple(rooms()))
    ledger = await connection.fetch("select version, checksum, incompatible from care.schema_migrations")
    applied = {row["version"]: row["checksum"] for row in ledger}
    known = {migration.version for migration in migrations()}
    for row in ledger:
        if row["incompatible"] and row["version"] not in known:
            raise SettingsError(_INCOMPATIBLE.format(row["version"]))
    for migration in migrations():
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise SettingsError(
                f"Migration {migration.name} was changed after this database ran it. "
                "Restore the release's own text of it; a change is a further migration."
            )
    pending = tuple(m for m in migrations() if m.version not in applied)
    if not pending and await _is_ahead(connection, applied):
        return Plan((), ())
    written = dict(await connection.fetch("select room, checksum from care.schema_functions"))
    stale = tuple(room for room, text in rooms().items() if written.get(room) != _checksum(text))
    return Plan(pending, stale)


async def _is_ahead(connection: asyncpg.Connection, applied: dict[int, str]) -> bool:
    """Whether a newer release has been here: an older one must not write its functions over the newer ones."""
    releases = await connection.fetch("select distinct release from care.schema_functions")
    newest = max((_numbers(row["release"]) for row in releases), default=())
    return newest > _numbers(__version__) or not applied.keys() <= {m.version for m in migrations()}


async def _refuse_strangers(connection: asyncpg.Connection) -> None:
    """Refuses a database that holds tables of our names, or a schema `care`, that we did not make."""
    created = re.findall(r"create table ((?:public|care)\.\w+)", "".join(m.text for m in migrations()))
    found = await connection.fetchval(
        "select string_agg(name, ', ' order by name) from unnest($1::text[]) as name "
        "where to_regclass(name) is not null",
        created,
    )
    # An empty one of care_owner's is what a first migration leaves that stopped after the bootstrap.
    foreign_schema = await connection.fetchval(
        "select exists (select 1 from pg_namespace n where n.nspname = 'care' "
        "and (pg_get_userbyid(n.nspowner) <> 'care_owner' "
        "or exists (select 1 from pg_class c where c.relnamespace = n.oid) "
        "or exists (select 1 from pg_proc p where p.pronamespace = n.oid)))"
    )
    if found or foreign_schema:
        raise SettingsError(
            f"This database holds {found or 'a schema named care'} already, and not from this software. "
            "Nothing was changed. Use an empty database."
        )


async def migrate(connection: asyncpg.Connection, *, anew: bool = False) -> Plan:
    """Brings the database up to this release and returns what was done.

    `anew` writes functions and grants even where nothing has changed, for a database that was restored without them.
    There the bootstrap ran before, and `connection` needs no rights but care_owner's.

    `connection` is the owner's (a role that may create roles, or one where they exist and that is a member of
    care_owner). Each migration is one transaction with its ledger row; functions and grants are one more. A second
    migrator waits. Errors: SettingsError in words; a failed migration leaves nothing of itself behind.
    """
    await _check_server(connection)
    # Before the time-outs, which would end the wait for another migrator too.
    await connection.execute("select pg_advisory_lock($1)", LOCK, timeout=600)
    try:
        # The path, so that nothing in `public` or a platform's schemas stands before PostgreSQL's own names.
        await connection.execute(
            "set lock_timeout = '10s'; set statement_timeout = '10min'; set search_path = pg_catalog, pg_temp"
        )
        todo = await plan(connection)
        if todo.empty and not anew:
            return todo
        if not anew:
            await bootstrap(connection)
        await connection.execute("set role care_owner")
        await connection.execute(_LEDGER)
        for migration in todo.migrations:
            await _apply(connection, migration)
        await _write_rooms(connection)
        return todo
    finally:
        await connection.execute("reset role; reset lock_timeout; reset statement_timeout; reset search_path")
        await connection.execute("select pg_advisory_unlock($1)", LOCK)


async def _check_server(connection: asyncpg.Connection) -> None:
    version = int(await connection.fetchval("show server_version_num"))
    if version < _OLDEST_SERVER:
        raise SettingsError(f"PostgreSQL 15 or newer is needed; this server is {version // 10000}.")
    encoding = await connection.fetchval("show server_encoding")
    if encoding != "UTF8":
        raise SettingsError(f"The database's encoding must be UTF8; this one's is {encoding}. Create it anew.")


async def bootstrap(connection: asyncpg.Connection) -> None:
    """Makes the roles, the schemas and the platform's stand-in, where they are missing."""
    for attempt in range(1, _BOOTSTRAP_ATTEMPTS + 1):
        try:
            async with connection.transaction():
                for name in ("roles", "auth", "schemas"):
                    await connection.execute((_SQL / "bootstrap" / f"{name}.sql").read_text("utf-8"))
        except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError, asyncpg.InternalServerError):
            # Roles are the server's: another database of it is being migrated (XX000 is `tuple concurrently updated`).
            # What the other one made is found made the next time.
            if attempt == _BOOTSTRAP_ATTEMPTS:
                raise
        else:
            return


async def make_ledgers(connection: asyncpg.Connection) -> None:
    """Makes the ledgers that are missing, in a database that an earlier release migrated."""
    async with connection.transaction():
        await connection.execute("set local client_min_messages = warning; set local search_path = pg_catalog, pg_temp")
        await connection.execute("set local role care_owner")
        await connection.execute(_LEDGER)


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.text)
        await connection.execute(
            "insert into care.schema_migrations (version, name, checksum, incompatible, release) "
            "values ($1, $2, $3, $4, $5)",
            migration.version,
            migration.name,
            migration.checksum,
            migration.incompatible,
            __version__,
        )


async def _write_rooms(connection: asyncpg.Connection) -> None:
    """Writes every function anew, not only the changed rooms: a replaced view or type may have moved under others."""
    async with connection.transaction():
        for room, text in rooms().items():
            await connection.execute(text)
            await connection.execute(
                "insert into care.schema_functions as f (room, checksum, release) values ($1, $2, $3) "
                "on conflict on constraint schema_functions_pkey do update "
                "set checksum = excluded.checksum, release = excluded.release, applied_at = excluded.applied_at "
                "where f.checksum <> excluded.checksum",
                room,
                _checksum(text),
                __version__,
            )


@cache
def _checksums() -> tuple[dict[int, str], dict[str, str]]:
    # Of migrations and function rooms; a process asks at each look at its health, and its release does not change.
    return {m.version: m.checksum for m in migrations()}, {room: _checksum(text) for room, text in rooms().items()}


def mismatch(
    applied: dict[int, tuple[str, bool]], written: dict[str, str], release: str | None, own: str = __version__
) -> str | None:
    """Why this release must not run on a database, in words, or None when it may.

    `applied`: checksum and incompatible mark by migration; `written`: checksum by function room; `release`: the newest
    release that wrote functions. A database that is ahead is fine unless a migration says otherwise (rule 18).
    """
    known, own_rooms = _checksums()
    for version, (checksum, incompatible) in applied.items():
        if version not in known:
            if incompatible:
                return _INCOMPATIBLE.format(version)
        elif checksum != known[version]:
            return f"Migration {version} of the database has another text than this release's."
    missing = sorted(known.keys() - applied.keys())
    if missing:
        return f"The database lacks migration {missing[0]}. Run `care-collective migrate` first."
    ahead = release is not None and _numbers(release) > _numbers(own)
    stale = [room for room, checksum in own_rooms.items() if written.get(room) != checksum]
    if stale and not ahead:
        return f"The database's functions ({stale[0]}) are not this release's. Run `care-collective migrate` first."
    return None


def is_newer(release: str, than: str) -> bool:
    """Whether one release is newer than another."""
    return _numbers(release) > _numbers(than)


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", release))
