"""Opens the database of a deployment: the embedded one or a server's, brought up to this release or refused in words.

The web process gets a pool that can call functions and read no table; commands get the owner's rights.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from care_collective.db.call import Database
from care_collective.db.embedded import Server, running
from care_collective.db.embedded.attach import held, made, running_server
from care_collective.db.listen import Listener
from care_collective.db.migrate import Plan, migrate, migrations, mismatch, plan
from care_collective.db.pool import make_pool
from care_collective.db.rights import open_table
from care_collective.errors import CareError, SettingsError
from care_collective.operations import backup
from care_collective.operations.connect import connect, in_words
from care_collective.secrets_file import keep_secrets
from care_collective.settings import Settings

_DATABASE: Final = "care"
_ATTACH_SECONDS: Final = 20.0  # a server that another process starts or stops at this moment
_CLOSE_SECONDS: Final = 5.0
# Connections. Of the flag, the counts, the guard's looks and its turns at the probe none waits for another; what is not
# needed at once is not made.
_RESERVED: Final = 4
_EMPTY: Final = "The database is empty. Run `care-collective migrate` first."
_COMMAND_SECONDS: Final = 600  # an operator's statement may read the whole database

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a web process works with. `settings` hold the kept secrets; `owner_url` is for what the pool may not do.

    `listener` waits to be run. `reserved` is the same database over connections that members' calls cannot use up.
    """

    settings: Settings
    database: Database
    reserved: Database
    listener: Listener
    owner_url: str


@dataclass(frozen=True, slots=True)
class Where:
    """Where a database is. `ours` says that we started its server and nobody else uses it."""

    app_url: str
    owner_url: str
    owner_setting: str
    become: str | None
    embedded: bool
    ours: bool


def silent(_: str) -> None:
    """Tells nobody."""


def embedded_folder(settings: Settings) -> Path:
    """The state folder of the embedded server."""
    return settings.data_dir / "postgres"


def backups_folder(settings: Settings) -> Path:
    """Where backups go that are not sent elsewhere; made where it is missing. Errors: SettingsError."""
    folder = settings.data_dir / "backups"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{folder} cannot be made: {error.strerror}. Choose another CARE_DATA_DIR.") from error
    return folder


@asynccontextmanager
async def opened(settings: Settings, *, tell: Tell = silent) -> AsyncIterator[Deployment]:
    """The deployment that the settings describe, ready to serve, for as long as the block runs.

    An embedded database is started, made and migrated; an empty one of a server is migrated, any other must be this
    release's. Without DATABASE_OWNER_URL the pool becomes care_app. `tell` hears what takes a moment.
    Errors: SettingsError in words for all that forbids a start, among them a pool that could read tables.
    """
    async with _located(settings, attach=False, tell=tell) as where:
        await _make_ready(settings, where, make_empty=True, tell=tell)
        kept = keep_secrets(settings, settings.data_dir)
        if where.owner_url != where.app_url:
            await (await connect(where.app_url, "DATABASE_URL")).close()  # refuses in better words than a pool
        # A direct URL says that the other one leads to a pooler, whose server connections are shared.
        cache = 0 if settings.database_direct_url is not None else 100
        async with (
            _app_pool(where, size=16, statement_cache=cache) as pool,
            _app_pool(where, size=_RESERVED, statement_cache=cache) as reserved,
        ):
            await _check_rights(pool)
            listener = Listener(settings.database_direct_url or where.app_url, become=where.become)
            yield Deployment(kept, Database(pool), Database(reserved), listener, where.owner_url)


@asynccontextmanager
async def _app_pool(where: Where, *, size: int, statement_cache: int) -> AsyncIterator[asyncpg.Pool]:
    pool = await make_pool(where.app_url, become=where.become, size=size, statement_cache=statement_cache)
    try:
        yield pool
    finally:
        await _close(pool)


@asynccontextmanager
async def as_owner(settings: Settings, *, tell: Tell = silent) -> AsyncIterator[Database]:
    """The deployment's database with the owner's rights, for an operator's command.

    An embedded server that another process runs is used beside it; else it is started for the block, and migrated.
    Errors: SettingsError in words; a server's database that is empty or another release's is refused.
    """
    async with _located(settings, attach=True, tell=tell) as where:
        await _make_ready(settings, where, make_empty=where.ours, tell=tell)
        async with _owner_pool(where.owner_url) as database:
            yield database


@asynccontextmanager
async def examined(settings: Settings, *, any_release: bool = False, tell: Tell = silent) -> AsyncIterator[Database]:
    """The deployment's database with the owner's rights, to look at: nothing is made and nothing is migrated.

    `any_release` lets the caller judge whose release it is of. Errors: SettingsError in words where there is none, it
    is empty, or it is another release's.
    """
    async with as_found(settings, tell=tell) as where:
        state = await _look(where)
        if state.empty:
            raise SettingsError(_EMPTY)
        if state.mismatch is not None and not any_release:
            raise SettingsError(state.mismatch)
        async with _owner_pool(where.owner_url) as database:
            yield database


@asynccontextmanager
async def owner_of(deployment: Deployment) -> AsyncIterator[Database]:
    """The owner's rights on a deployment that is open."""
    async with _owner_pool(deployment.owner_url) as database:
        yield database


@asynccontextmanager
async def as_found(settings: Settings, *, make: bool = False, tell: Tell = silent) -> AsyncIterator[Where]:
    """Where the deployment's database is, for work on one that may be empty or of another release. Not migrated.

    `make` allows an embedded database to be made. Errors: SettingsError where it is not there, or its server cannot
    be started.
    """
    if settings.embedded and not make and not made(embedded_folder(settings)):
        raise SettingsError(_missing(settings))
    async with _located(settings, attach=True, make=make, tell=tell) as where:
        yield where


async def remember_verified(settings: Settings, archive: backup.Archive, *, tell: Tell = silent) -> str | None:
    """Remembers a verified backup in the deployment's database, or answers in words why that was not possible."""
    try:
        async with as_found(settings, tell=tell) as where:
            connection = await connect(where.owner_url, where.owner_setting)
            try:
                with in_words(where.owner_setting):
                    return await backup.note(connection, archive)
            finally:
                await connection.close()
    except SettingsError as error:
        return str(error)


async def find_plan(settings: Settings, *, tell: Tell = silent) -> Plan:
    """What `migrate` would do. Nothing is changed. Errors: SettingsError where there is no database yet."""
    async with as_found(settings, tell=tell) as where:
        connection = await connect(where.owner_url, where.owner_setting)
        try:
            with in_words(where.owner_setting):
                return await plan(connection)
        finally:
            await connection.close()


async def bring_up(settings: Settings, *, without_backup: str | None = None, tell: Tell = silent) -> Plan:
    """Migrates the database and answers what was done.

    One with members wants a backup verified within 24 hours, or the reason why there is none, which is remembered.
    Errors: SettingsError in words; CareError where that backup is missing; nothing half done stays.
    """
    async with _located(settings, attach=True, tell=tell) as where:
        await _require_backup(where, without_backup)
        return await _migrate(where, tell)


async def _require_backup(where: Where, without_backup: str | None) -> None:
    connection = await connect(where.owner_url, where.owner_setting)
    try:
        with in_words(where.owner_setting):
            if not await backup.wanted(connection):
                return
            if without_backup is None:
                await backup.demand(connection)
            else:
                await backup.waive(connection, without_backup)
    finally:
        await connection.close()


async def _back_up(settings: Settings, where: Where, tell: Tell) -> None:
    """Makes and verifies a backup where people's tables are about to change. Errors: SettingsError in words."""
    connection = await connect(where.owner_url, where.owner_setting)
    try:
        with in_words(where.owner_setting):
            if not await backup.wanted(connection):
                return
            made = await backup.make(where.owner_url, where.owner_setting, backups_folder(settings), tell=tell)
            checked = await backup.verify(made.archive.path, tell=tell)
            if not checked.proved:
                raise SettingsError(f"The backup before the migration is none: {checked.differences[0]}.")
            await backup.note(connection, made.archive)
    except CareError as error:
        raise SettingsError(f"No backup could be made before the migration: {error.message}") from error
    finally:
        await connection.close()


@asynccontextmanager
async def _located(settings: Settings, *, attach: bool, make: bool = True, tell: Tell) -> AsyncIterator[Where]:
    if settings.database_url is not None:
        owner = settings.database_owner_url
        setting = "DATABASE_URL" if owner is None else "DATABASE_OWNER_URL"
        become = "care_app" if owner is None else None
        url = settings.database_url
        yield Where(url, owner or url, setting, become, embedded=False, ours=False)
        return
    folder = embedded_folder(settings)
    server = await _running_beside(folder) if attach else None
    if server is not None:
        yield _embedded(server.dsn(user="care_app", database=_DATABASE), server.dsn(database=_DATABASE), ours=False)
        return
    tell("Starting the embedded PostgreSQL")
    async with running(folder) as own:
        await _find_database(settings, own.dsn(), make=make)
        yield _embedded(own.dsn(user="care_app", database=_DATABASE), own.dsn(database=_DATABASE), ours=True)


def _embedded(app_url: str, owner_url: str, *, ours: bool) -> Where:
    return Where(app_url, owner_url, "the embedded database", None, embedded=True, ours=ours)


async def _running_beside(folder: Path) -> Server | None:
    deadline = time.monotonic() + _ATTACH_SECONDS
    while (server := running_server(folder)) is None and held(folder):
        if time.monotonic() > deadline:
            raise SettingsError(f"The database in {folder} is being started or stopped by another process. Try again.")
        await asyncio.sleep(0.05)
    return server


async def _find_database(settings: Settings, url: str, *, make: bool) -> None:
    connection = await asyncpg.connect(url)
    try:
        if await connection.fetchval("select exists (select 1 from pg_database where datname = $1)", _DATABASE):
            return
        if not make:
            raise SettingsError(_missing(settings))
        await connection.execute(f"create database {_DATABASE}")
    finally:
        await connection.close()


def _missing(settings: Settings) -> str:
    return (
        f"There is no database in {settings.data_dir} yet. "
        "Choose the right CARE_DATA_DIR, or make one with `care-collective migrate`."
    )


async def _make_ready(settings: Settings, where: Where, *, make_empty: bool, tell: Tell) -> None:
    state = await _look(where)
    if state.empty and not make_empty:
        raise SettingsError(_EMPTY)
    if state.empty or (state.behind and where.ours):
        await _back_up(settings, where, tell)
        await _migrate(where, tell)
    elif state.mismatch is not None:
        raise SettingsError(state.mismatch)


async def _look(where: Where) -> "_State":
    connection = await connect(where.owner_url, where.owner_setting)
    try:
        with in_words(where.owner_setting):
            return await _state(connection)
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class _State:
    """What a database is to this release: empty, or behind it; and why it must not be used as it is."""

    empty: bool
    behind: bool
    mismatch: str | None


async def _state(connection: asyncpg.Connection) -> _State:
    todo = await plan(connection)  # refuses strangers, changed migrations, and a database that forbids this release
    if todo.migrations == migrations():
        return _State(empty=True, behind=True, mismatch=None)
    # Read from the tables and not from care.health(): an operator must get to the doctor when a function is missing.
    ledger = await connection.fetch("select version, checksum, incompatible from care.schema_migrations")
    applied = {row["version"]: (row["checksum"], row["incompatible"]) for row in ledger}
    written = await connection.fetch("select room, checksum, release from care.schema_functions order by applied_at")
    return _State(
        empty=False,
        behind=not todo.empty,
        mismatch=mismatch(
            applied,
            {row["room"]: row["checksum"] for row in written},
            written[-1]["release"] if written else None,  # the last writer is the newest: an older one does not write
        ),
    )


async def _migrate(where: Where, tell: Tell) -> Plan:
    connection = await connect(where.owner_url, where.owner_setting)
    try:
        with in_words(where.owner_setting):
            tell("Bringing the database up to this release")
            return await migrate(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def _owner_pool(url: str) -> AsyncIterator[Database]:
    pool = await make_pool(url, become="care_owner", size=1, statement_seconds=_COMMAND_SECONDS)
    try:
        yield Database(pool)
    finally:
        await _close(pool)


async def _close(pool: asyncpg.Pool) -> None:
    try:
        await asyncio.wait_for(pool.close(), _CLOSE_SECONDS)
    except TimeoutError:
        pool.terminate()


async def _check_rights(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        found = await open_table(connection)
    if found is not None:
        role, table = found
        raise SettingsError(
            f"DATABASE_URL: its user {role} may read or write the table {table}, which the web process must not. "
            "Let it be care_app there, and keep the owner for DATABASE_OWNER_URL."
        )
