"""Migration where somebody else rules: an owner who is no superuser, and a platform with auth and open defaults."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest

from care_collective.db.migrate import migrate
from database.test_migrations import connected, empty, everything
from harness import Postgres

PLATFORM = """
create schema auth;
create table auth.users (id uuid primary key);
create function auth.uid() returns uuid language sql stable as
  $$ select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
     nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
grant usage on schema auth, public to anon, authenticated, service_role;
alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
"""


@asynccontextmanager
async def manager(postgres: Postgres, powers: str) -> AsyncIterator[str]:
    """A role without superuser, for as long as it is needed."""
    name = f"manager_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres.server.dsn())
    await admin.execute(f"create role {name} login {powers}")
    try:
        yield name
    finally:
        await admin.execute(f"drop role {name}")
        await admin.close()


async def closed(connection: asyncpg.Connection) -> None:
    """Asserts that anon has nothing of ours."""
    open_to_anon = await connection.fetch(
        "select p.proname from pg_proc p where p.pronamespace in ('public'::regnamespace, 'care'::regnamespace) "
        "and p.proowner = 'care_owner'::regrole and (has_function_privilege('anon', p.oid, 'execute') "
        "or has_function_privilege('service_role', p.oid, 'execute')) "
        "union all select c.relname from pg_class c where c.relkind in ('r', 'v') "
        "and c.relowner = 'care_owner'::regrole and (has_table_privilege('anon', c.oid, 'select') "
        "or has_table_privilege('authenticated', c.oid, 'select'))"
    )
    assert open_to_anon == []


async def test_a_platforms_auth_and_open_defaults_are_kept_and_do_no_harm(postgres: Postgres) -> None:
    async with empty(postgres) as address, connected(address()) as connection:
        await connection.execute(PLATFORM)
        uid = await connection.fetchval("select pg_get_functiondef('auth.uid()'::regprocedure)")
        await migrate(connection)
        await closed(connection)
        assert await connection.fetchval("select pg_get_functiondef('auth.uid()'::regprocedure)") == uid
        assert await connection.fetchval("select count(*) from pg_class where oid = 'auth.users'::regclass") == 1


async def test_auth_uid_is_made_where_there_is_none_and_ours_never_call_it(postgres: Postgres) -> None:
    async with empty(postgres) as address, connected(address()) as connection:
        await migrate(connection)
        me = uuid4()
        async with connection.transaction():
            await connection.execute("set local role authenticated")
            assert await connection.fetchval("select auth.uid()") is None
            await connection.execute("select set_config('request.jwt.claims', $1, true)", f'{{"sub": "{me}"}}')
            assert await connection.fetchval("select auth.uid()") == me
        assert await connection.fetchval("select count(*) from pg_proc where prosrc like '%auth.uid%'") == 0


@pytest.mark.parametrize("premade", [True, False], ids=["roles made by the superuser", "roles made by the manager"])
async def test_an_owner_who_may_make_roles_but_is_no_superuser_can_migrate(postgres: Postgres, premade: bool) -> None:
    admin = await asyncpg.connect(postgres.server.dsn())
    async with manager(postgres, "createrole createdb") as name:
        if not premade:
            await admin.execute("alter role care_owner rename to aside_owner; alter role care_app rename to aside_app")
        elif int(await admin.fetchval("show server_version_num")) >= 160000:
            # From 16 on CREATEROLE alone gives no hold on a role that another made; a platform grants it.
            await admin.execute(f"grant care_owner, care_app to {name} with admin true, set false, inherit false")
        try:
            async with empty(postgres, f"owner {name}") as address:
                async with connected(address(name)) as connection:
                    assert not (await migrate(connection)).empty
                    assert (await migrate(connection)).empty
                    await closed(connection)
                    assert await connection.fetchval("select current_user") == name
                    # The pool of a deployment that has only the owner's address becomes care_app.
                    await connection.execute("set role care_app")
                    assert '"identity"' in await connection.fetchval("select public.list_conversations()")
                async with connected(address()) as connection:
                    assert await connection.fetchval("select count(*) from care.violations()") == 0
                    owners = await connection.fetch(
                        "select distinct relowner::regrole::text as owner from pg_class "
                        "where relnamespace in ('public'::regnamespace, 'care'::regnamespace)"
                    )
                    assert [row["owner"] for row in owners] == ["care_owner"]
                    assert len(await everything(connection)) > 200
        finally:
            await admin.execute(f"reassign owned by {name} to postgres; drop owned by {name}")
            if premade:
                await admin.execute(f"revoke care_owner, care_app from {name} cascade")
            else:
                for role in ("care_owner", "care_app"):
                    await admin.execute(f"drop owned by {role}; drop role {role}")
                await admin.execute(
                    "alter role aside_owner rename to care_owner; alter role aside_app rename to care_app"
                )
            await admin.close()
