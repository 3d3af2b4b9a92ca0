"""Counts the rows of our tables and takes their checksums, the same on every server, version and setting."""

from typing import Final

import asyncpg

from care_collective.operations.backup.archive import Contents

OURS: Final = """
select format('%I.%I', n.nspname, c.relname)
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n
    on n.oid = c.relnamespace
 where n.nspname in ('public', 'care')
   and c.relkind in ('r', 'p')
   and c.relowner = (select r.oid from pg_catalog.pg_roles r where r.rolname = 'care_owner')
 order by 1
"""
# The sum of 128 bits of each row's SHA-256, in two halves: it knows no order, needs no memory, and a row that is
# missing, doubled or changed moves it. The text of a row has to be made under _FIXED.
_CONTENTS: Final = """
select count(*),
       coalesce(sum(('x' || substr(h.hex, 1, 16))::bit(64)::bigint::numeric), 0)::text
         || ':' || coalesce(sum(('x' || substr(h.hex, 17, 16))::bit(64)::bigint::numeric), 0)::text
  from {} as t
 cross join lateral (select encode(sha256(convert_to((t.*)::text, 'UTF8')), 'hex') as hex) as h
"""
_FIXED: Final = (
    "set local datestyle = 'ISO, YMD'; set local timezone = 'UTC'; set local intervalstyle = 'postgres'; "
    "set local bytea_output = 'hex'; set local extra_float_digits = 1; set local search_path = pg_catalog, pg_temp; "
    "set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0; "
    # Who may not see every row must not count those that it sees.
    "set local row_security = off"
)


async def become_owner(connection: asyncpg.Connection) -> None:
    """Fixes all that the text of a row depends on, and takes the owner's rights, until the transaction ends."""
    await connection.execute(_FIXED)
    if int(await connection.fetchval("show server_version_num")) >= 170000:
        await connection.execute("set local transaction_timeout = 0")
    await connection.execute("set local role care_owner")


async def contents(connection: asyncpg.Connection) -> dict[str, Contents]:
    """Rows and checksum of each of our tables, in a transaction in which `become_owner` was called."""
    tables = [row[0] for row in await connection.fetch(OURS)]
    return {table: Contents(*await connection.fetchrow(_CONTENTS.format(table))) for table in tables}


async def compared(connection: asyncpg.Connection, expected: dict[str, Contents]) -> list[str]:
    """What differs from the manifest, one line a table; nothing where all is equal."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await become_owner(connection)
        held = await contents(connection)
    return [
        f"{table}: {_spoken(expected.get(table))} expected, {_spoken(held.get(table))} found"
        for table in sorted(expected.keys() | held.keys())
        if expected.get(table) != held.get(table)
    ]


def _spoken(table: Contents | None) -> str:
    return "no table" if table is None else f"{table.rows} rows with checksum {table.checksum}"
