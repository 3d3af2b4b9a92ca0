"""Brings a backup back: into a scratch server to prove it, or into an empty database to use it.

Never writes over anything: a target that holds a row of ours, or a table of others, is refused. A file is somebody's
SQL: from its first statement until all is compared and written anew, nobody with rights over the server runs any.
"""

import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import asyncpg

from care_collective.db.embedded import Binaries, find_binaries, running
from care_collective.db.migrate import bootstrap, migrate
from care_collective.errors import SettingsError
from care_collective.operations.backup import programs
from care_collective.operations.backup.archive import Archive, read, refusal
from care_collective.operations.backup.confined import confined
from care_collective.operations.backup.counts import OURS, compared
from care_collective.operations.backup.ledger import remember
from care_collective.operations.backup.make import Tell
from care_collective.operations.connect import connect, in_words

_CLEAR: Final = files("care_collective") / "sql" / "clear.sql"
# What holds rows without anybody having been here: a flag's changes are rows of another table, and nodes come and go.
_LEDGERS: Final = (
    "care.schema_migrations",
    "care.schema_functions",
    "care.rollout_flags",
    "care.rollout_nodes",
    "care.rollout_probes",
    "care.rollout_checks",
)
# What the guard's probe has made in a database that was served and has no members.
_PROBE: Final = """
delete from public.help_requests r using public.communities c where c.id = r.community_id and c.is_probe;
delete from care.users u using public.profiles p, public.communities c
 where p.user_id = u.id and c.id = p.community_id and c.is_probe;
delete from public.profiles p using public.communities c where c.id = p.community_id and c.is_probe;
delete from public.communities c where c.is_probe
"""
# Tables and views of others where ours are to lie; an extension's are no obstacle.
_STRANGERS: Final = """
select format('%I.%I', n.nspname, c.relname)
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n
    on n.oid = c.relnamespace
 where n.nspname in ('public', 'care')
   and c.relkind in ('r', 'p', 'v', 'm', 'f')
   and pg_catalog.pg_get_userbyid(c.relowner) <> 'care_owner'
   and not exists (
     select 1
       from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        and d.objid = c.oid
        and d.deptype = 'e')
 order by 1
 limit 3
"""
_SESSIONS: Final = """
select count(*)
  from pg_catalog.pg_stat_activity a
 where a.datname = current_database()
   and a.pid <> pg_backend_pid()
   and (a.application_name = 'care-collective' or a.usename = 'care_app')
"""
_VIOLATIONS: Final = "select count(*) from care.violations()"
# What no release of ours makes, and what would run with the rights of whoever touches a table or compares two values.
_SMUGGLED: Final = """
select pg_describe_object(f.classid, f.objid, 0)
  from (
    select 'pg_trigger'::regclass as classid, t.oid as objid
      from pg_trigger t
      join pg_class c
        on c.oid = t.tgrelid
     where c.relowner = 'care_owner'::regrole
       and not t.tgisinternal
     union all
    select 'pg_rewrite'::regclass, w.oid
      from pg_rewrite w
      join pg_class c
        on c.oid = w.ev_class
     where c.relowner = 'care_owner'::regrole
       and (w.rulename <> '_RETURN' or c.relname in ('schema_migrations', 'schema_functions', 'backups'))
     union all
    select 'pg_operator'::regclass, o.oid from pg_operator o where o.oprowner = 'care_owner'::regrole
     union all
    select 'pg_cast'::regclass, k.oid from pg_cast k where k.oid >= 16384
     and exists (select from pg_proc p where p.oid = k.castfunc and p.proowner = 'care_owner'::regrole)
  ) f
 order by 1
 limit 1
"""
# All of care_owner's in a database that was empty: not `drop owned`, which reaches other databases of the server.
_TAKE_AWAY: Final = """
do $$
declare
  v_drop text;
begin
  drop schema if exists care cascade;
  -- All names first: a cascade takes some of them along.
  foreach v_drop in array array(
    select format('drop %s if exists public.%I cascade', case c.relkind when 'v' then 'view'
             when 'm' then 'materialized view' when 'S' then 'sequence' when 'f' then 'foreign table'
             when 'c' then 'type' else 'table' end, c.relname)
      from pg_class c
     where c.relnamespace = 'public'::regnamespace
       and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f', 'c')
       and c.relowner = 'care_owner'::regrole
     union all
    select format('drop routine if exists %s cascade', p.oid::regprocedure)
      from pg_proc p
     where p.pronamespace = 'public'::regnamespace
       and p.proowner = 'care_owner'::regrole
     union all
    select format('drop operator if exists %s cascade', o.oid::regoperator)
      from pg_operator o
     where o.oprowner = 'care_owner'::regrole
     union all
    select format('drop type if exists public.%I cascade', t.typname)
      from pg_type t
     where t.typnamespace = 'public'::regnamespace
       and t.typtype in ('d', 'e', 'r')
       and t.typowner = 'care_owner'::regrole
     union all
    select format('drop schema if exists %I cascade', n.nspname)
      from pg_namespace n
     where n.nspowner = 'care_owner'::regrole)
  loop
    execute v_drop;
  end loop;
end
$$
"""


@dataclass(frozen=True, slots=True)
class Checked:
    """A backup whose restore was compared. `differences` is empty for a proved one; one line a table otherwise."""

    archive: Archive
    differences: tuple[str, ...]
    violations: int

    @property
    def proved(self) -> bool:
        """Whether row counts and checksums were equal in every table (rule 19)."""
        return not self.differences


async def verify(path: Path, *, tell: Tell) -> Checked:
    """Restores a backup into a server of its own that is gone afterwards, and compares.

    Errors: CareError for a file that is no whole backup; SettingsError where this machine cannot restore it.
    """
    tell("Reading the backup")
    archive = read(path)
    async with _scratch(archive, tell) as url, _bootstrapped(url, "the scratch database") as (own, connection):
        tell("Restoring it there")
        with in_words("the scratch database"):
            differences = await _load(archive, own, connection)
            tell("Looking for violations")
            return Checked(archive, tuple(differences), await connection.fetchval(_VIOLATIONS))


async def restore(path: Path, url: str, setting: str, *, tell: Tell) -> Checked:
    """Restores a backup into the database of an owner's URL, which then is this release's and ready to serve.

    Errors: CareError for a file that is no whole backup, a target that is not empty, and a restore that is not equal
    to what was backed up; SettingsError where the server or this machine does not allow it. After each of them the
    target is as empty as it was.
    """
    tell("Reading the backup")
    archive = read(path)
    connection = await connect(url, setting)
    try:
        with in_words(setting):
            server = await programs.target(url, connection)
            _require_server(archive, server)
            programs.to_restore(server, written_by=archive.manifest.tool)
            await _require_empty(connection)
            async with _bootstrapped(url, setting) as (own, confined_connection):
                try:
                    return await _restored(archive, own, confined_connection, tell)
                except BaseException:
                    # What a file left there may not meet anybody else's rights, and it may have ended the transaction.
                    await confined_connection.execute(_TAKE_AWAY)
                    raise
    finally:
        await connection.close()


async def _restored(archive: Archive, url: str, connection: asyncpg.Connection, tell: Tell) -> Checked:
    tell("Restoring")
    differences = await _load(archive, url, connection)
    if differences:
        raise refusal("What was restored is not what was backed up; it was removed again. " + differences[0])
    tell("Bringing it up to this release")
    await migrate(connection, anew=True)
    await remember(connection, "restored", archive)
    tell("Looking for violations")
    return Checked(archive, (), await connection.fetchval(_VIOLATIONS))


def _require_server(archive: Archive, server: programs.Target) -> None:
    if archive.manifest.server > server.version:
        raise refusal(
            f"{archive.path} was made on PostgreSQL {archive.manifest.server}; this server is {server.version}, and "
            f"older ones cannot be trusted to take it. Restore into PostgreSQL {archive.manifest.server} or newer."
        )


async def _require_empty(connection: asyncpg.Connection) -> None:
    """Refuses a target in use, and takes away the empty tables of one that was only migrated."""
    if await connection.fetchval(_SESSIONS):
        raise refusal("The database is in use. Stop `serve` and every other node on it, then restore.")
    strangers = [row[0] for row in await connection.fetch(_STRANGERS)]
    if strangers:
        raise refusal(
            f"The database holds tables of other software ({', '.join(strangers)}). Nothing was changed. "
            "Restore into an empty one."
        )
    async with connection.transaction():
        await connection.execute("set local lock_timeout = '10s'")
        tables = [row[0] for row in await connection.fetch(OURS)]
        for table in tables:
            await connection.execute(f"lock table {table} in access exclusive mode")
        if "public.communities" in tables:
            await connection.execute(_PROBE)  # a refusal brings it back
        for table in sorted(set(tables) - set(_LEDGERS), reverse=True):  # those of people first
            if await connection.fetchval(f"select exists (select from {table})"):  # noqa: S608  a name of the catalogue
                raise refusal(
                    f"The database is not empty: {table} holds rows. Nothing was changed. Restore into an empty one."
                )
        if tables:
            await connection.execute(_CLEAR.read_text("utf-8"))


@asynccontextmanager
async def _bootstrapped(url: str, setting: str) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    """Makes roles and schemas as the owner; the URL and a connection of somebody with care_owner's rights alone."""
    owner = await connect(url, setting)
    try:
        with in_words(setting):
            await bootstrap(owner)
        async with confined(owner, url, setting) as found:
            yield found
    finally:
        await owner.close()


async def _load(archive: Archive, url: str, connection: asyncpg.Connection) -> list[str]:
    """Restores into an empty database in one transaction, and answers what differs from the manifest."""
    server = await programs.target(url, connection)
    tools = programs.to_restore(server, written_by=archive.manifest.tool)
    listed = await programs.run(tools, "pg_restore", "--list", str(archive.path))
    with tempfile.NamedTemporaryFile("w", prefix="care-collective-", suffix=".list") as chosen:
        chosen.write("\n".join(filter(_is_ours, listed.splitlines())))
        chosen.flush()
        await programs.run(
            *(tools, "pg_restore", "--single-transaction", "--exit-on-error", f"--use-list={chosen.name}"),
            *("--no-owner", "--no-privileges", "--no-tablespaces", "--role=care_owner", str(archive.path)),
            server=server,
        )
    smuggled = await connection.fetchval(_SMUGGLED)
    if smuggled is not None:
        raise refusal(f"{archive.path} holds what no release of Care Collective makes: {smuggled}. It was not kept.")
    await connection.execute("analyze")
    return await compared(connection, archive.manifest.tables)


def _is_ours(line: str) -> bool:
    """Whether a line of the list names something of care_owner's. The schemas themselves are the bootstrap's."""
    return line.endswith(" care_owner") and not re.match(
        r"\d+; \d+ \d+ (SCHEMA|ACL|DEFAULT ACL|COMMENT - SCHEMA) ", line
    )


@asynccontextmanager
async def _scratch(archive: Archive, tell: Tell) -> AsyncIterator[str]:
    """The URL of an empty database on a server of our own, which is removed with all its files at the end."""
    binaries = _binaries(archive)
    folder = _scratch_folder()
    try:
        tell("Starting a scratch PostgreSQL")
        async with running(folder / "scratch", binaries=binaries, options={"fsync": "off"}) as server:
            connection = await connect(server.dsn(), "the scratch server")
            try:
                await connection.execute("create database care")
            finally:
                await connection.close()
            yield server.dsn(database="care")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _scratch_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="care-collective-verify-"))
    folder.chmod(0o711)  # as root the server runs as another user, who has to pass
    return folder


def _binaries(archive: Archive) -> Binaries:
    """Programs of the server's version that was backed up, else the next newer."""
    least = max(archive.manifest.server, archive.manifest.tool)
    usable: dict[int, Binaries] = {}
    for folder in (None, *(tools.folder for tools in programs.found())):
        try:
            binaries = find_binaries(folder)
        except SettingsError:
            continue  # a client's programs without the server's
        if binaries.version >= least:
            usable.setdefault(binaries.version, binaries)
    if not usable:
        raise SettingsError(
            f"{archive.path} was made with PostgreSQL {least}, and this machine has no server that new to try it on. "
            f"On Debian: apt install postgresql-{least}."
        )
    return usable[min(usable)]
