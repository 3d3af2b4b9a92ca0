"""A login that can do nothing but become care_owner, for as long as somebody's file is in a database.

What a backup holds is SQL, and whoever made the file wrote it: a `reset role` within leads back to whoever logged in.
So nobody with more rights than care_owner logs in for it, and none of its functions, views and casts is run by one.
"""

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import asyncpg

from care_collective.errors import SettingsError
from care_collective.operations.connect import in_words

_CONNECT_SECONDS: Final = 10.0
_NAME: Final = "care_restore_"
# A superuser is a member of everything.
_POWERFUL: Final = """
select bool_or(pg_catalog.pg_has_role(session_user, r.rolname, 'MEMBER'))
  from pg_catalog.pg_roles r
 where r.rolsuper
    or r.rolname in ('pg_execute_server_program', 'pg_write_server_files', 'pg_read_server_files')
"""
# The session begins as care_owner, and `reset` leads back to that.
_SETTINGS: Final = {"timezone": "UTC", "role": "care_owner", "search_path": "pg_catalog, pg_temp"}


@asynccontextmanager
async def confined(owner: asyncpg.Connection, url: str, setting: str) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    """The URL of such a login to the database of `owner`, and a connection of it that is care_owner.

    The login is made for the block and dropped after it. Where the owner may make none, or it is not let in, the owner
    serves, but never one with rights over the server. Errors: SettingsError.
    """
    name = await _made(owner, password := secrets.token_hex(16))
    try:
        connection, own = None, url
        if name is not None:
            own = _as_login(url, name, password)
            try:
                connection = await _connected(own)
            except (asyncpg.PostgresError, OSError, TimeoutError):
                own = url  # a server that lets in only whom it knows
        if connection is None:
            if await owner.fetchval(_POWERFUL):
                raise SettingsError(
                    f"{setting}: a backup is not restored with a superuser's rights, and the server does not let in "
                    f"the login made for it ({_NAME}… in care_owner). Let it in, or restore as an owner that is no "
                    "superuser. Nothing was restored."
                )
            with in_words(setting):
                connection = await _connected(url)
        try:
            yield own, connection
        finally:
            await connection.close()
    finally:
        if name is not None:
            await _dropped(owner, url, name, password)


async def _connected(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url, timeout=_CONNECT_SECONDS, server_settings=_SETTINGS)


async def _made(owner: asyncpg.Connection, password: str) -> str | None:
    """The name of a new login, or None where the owner may not make one."""
    name = _NAME + secrets.token_hex(8)
    try:
        async with owner.transaction():
            await owner.execute(f"create role {name} login noinherit password '{password}' in role care_owner")
            if not await owner.fetchval("select has_database_privilege($1, current_database(), 'connect')", name):
                await owner.execute(f"grant connect on database {await _database(owner)} to {name}")
    except asyncpg.InsufficientPrivilegeError:
        return None
    return name


async def _dropped(owner: asyncpg.Connection, url: str, name: str, password: str) -> None:
    """Takes the login away, and what a file may have made in its name."""
    try:
        own = await _connected(_as_login(url, name, password))
    except (asyncpg.PostgresError, OSError, TimeoutError):
        pass  # it was never let in, and owns nothing
    else:
        try:
            await own.execute(f"set role none; drop owned by {name} cascade")
        finally:
            await own.close()
    await owner.execute(f"revoke connect on database {await _database(owner)} from {name}")
    await owner.execute(f"drop role {name}")


async def _database(owner: asyncpg.Connection) -> str:
    return str(await owner.fetchval("select quote_ident(current_database())"))


def _as_login(url: str, name: str, password: str) -> str:
    """A URL for another login of the same server."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = [(key, value) for key, value in parse_qsl(parts.query) if not re.fullmatch("user|password|passfile", key)]
    return urlunsplit((parts.scheme, f"{name}:{password}@{host}", parts.path, urlencode(query, quote_via=quote), ""))
