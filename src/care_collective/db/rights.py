"""Says what a connected role may do that the web process must not (rules 4 and 6)."""

from typing import Final

import asyncpg

_OPEN_TABLE: Final = """
select format('%I.%I', n.nspname, c.relname)
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n
    on n.oid = c.relnamespace
 where n.nspname in ('public', 'care')
   and c.relkind in ('r', 'p', 'v', 'm')
   and c.relowner = 'care_owner'::pg_catalog.regrole
   and has_table_privilege(c.oid, 'select, insert, update, delete, truncate')
 order by c.relkind, 1
 limit 1
"""


async def open_table(connection: asyncpg.Connection) -> tuple[str, str] | None:
    """The connection's role and the first of our tables that it may read or write, or None where there is none."""
    role, table = await connection.fetchrow(f"select current_user::text, ({_OPEN_TABLE})")
    return None if table is None else (role, table)
