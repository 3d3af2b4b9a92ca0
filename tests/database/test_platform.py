"""Migration where somebody else rules: an owner who is no superuser, and a platform with auth and open defaults."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from care_collective.db.migrate import migrate
from database.test_migrations import connected, empty, everything
from harness import FIRST_WORDS, Postgres, care

# As Supabase makes a project, as far as it touches us.
PLATFORM = """
create schema auth;
create schema extensions;
create table auth.users (id uuid primary key);
create function auth.uid() returns uuid language sql stable as
  $$ select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
     nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
create function auth.role() returns text language sql stable as
  $$ select coalesce(nullif(current_setting('request.jwt.claim.role', true), ''),
     nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')::text $$;
grant usage on schema auth, public, extensions to anon, authenticated, service_role;
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


# PostgREST's statement for a function that answers one value, and what it sets before.
SETTINGS = (
    "select set_config('search_path', '\"public\", \"extensions\"', true), set_config('role', $1, true), "
    "set_config('request.jwt.claims', $2, true), set_config('request.method', 'POST', true), "
    "set_config('request.path', $3, true), set_config('request.headers', $4, true), "
    "set_config('request.cookies', '{}', true)"
)
STATEMENT = """
with pgrst_source as (
  select pgrst_call.pgrst_scalar
    from (select $1::json as json_data) pgrst_payload,
    lateral (select {names} from json_to_record(pgrst_payload.json_data) as _({types}) limit 1) pgrst_body,
    lateral (select "public"."{function}"({arguments}) pgrst_scalar) pgrst_call
)
select coalesce(json_agg(t.pgrst_scalar) -> 0, 'null')::text as body,
       nullif(current_setting('response.headers', true), '') as headers
  from (select pgrst_source.pgrst_scalar from pgrst_source) t
"""


@dataclass(frozen=True)
class Gateway:
    """Calls functions as PostgREST does: one login that may become any API role, another role for each transaction."""

    connection: asyncpg.Connection
    community_id: UUID

    async def call(
        self,
        function: str,
        types: str,
        values: list[object],
        *,
        who: UUID | None,
        role: str = "authenticated",
        key: str = "",
    ) -> tuple[dict[str, Any], str | None]:
        """A function's answer and the headers that it set; `types` are those of its arguments, by name."""
        names = [part.split()[0] for part in types.split(", ")]
        statement = STATEMENT.format(
            function=function, names=", ".join(names), types=types,
            arguments=", ".join(f"{name} := pgrst_body.{name}" for name in names),
        )  # fmt: skip
        claims: dict[str, Any] = {"sub": who and str(who), "role": role, "aud": role, "exp": 4102444800}
        claims["app_metadata"] = {"provider": "email", "community_id": str(self.community_id)}
        headers = {"host": "project.example", "idempotency-key": key} if key else {"host": "project.example"}
        # What only reads runs in a transaction that may not write.
        async with self.connection.transaction(readonly=function.startswith("get_")):
            await self.connection.execute("set local statement_timeout = '8s'")
            await self.connection.fetchrow(SETTINGS, role, json.dumps(claims), f"/rpc/{function}", json.dumps(headers))
            row = await self.connection.fetchrow(statement, json.dumps(dict(zip(names, map(str, values), strict=True))))
        assert await self.connection.fetchval("select current_user") == await self.connection.fetchval(
            "select session_user"
        )
        return json.loads(row["body"]), row["headers"]


async def test_the_three_functions_work_through_the_gateway_of_a_platform(postgres: Postgres) -> None:
    name, admin = await postgres.create(template="template0"), await asyncpg.connect(postgres.server.dsn())
    async with manager(postgres, "noinherit") as authenticator:
        await admin.execute(f"grant anon, authenticated, service_role to {authenticator}")
        async with connected(postgres.server.dsn(database=name)) as owner:
            await owner.execute(PLATFORM)
            await migrate(owner)
        async with (
            care(postgres, name) as platform,
            connected(postgres.server.dsn(user=authenticator, database=name)) as connection,
        ):
            town = await platform.town()
            olga, hal, sam = await town.member("Olga"), await town.member("Hal"), await town.member("Sam")
            for person in (olga, hal, sam):
                await platform.owner.execute("insert into auth.users (id) values ($1)", person.user_id)
            request, me, gateway = await town.request(olga), hal.user_id, Gateway(connection, town.community_id)

            create = "create_conversation_atomic", "p_help_request_id uuid, p_helper_id uuid, p_initial_message text"
            send = "send_message_v2", "p_conversation_id uuid, p_sender_id uuid, p_content text"
            read = "get_conversation_v2", "p_conversation_id uuid, p_user_id uuid"
            opened, headers = await gateway.call(*create, [request, me, FIRST_WORDS], who=me, key="once")
            assert (opened["success"], headers) == (True, None)
            replayed, headers = await gateway.call(*create, [request, me, FIRST_WORDS], who=me, key="once")
            assert replayed == opened
            assert '{"Idempotency-Replayed": "true"}' in str(headers)
            again, headers = await gateway.call(*create, [request, me, FIRST_WORDS], who=me)
            assert (again["error"], headers) == ("conversation_exists", None)
            thread = opened["conversation_id"]
            sent, _ = await gateway.call(*send, [thread, olga.user_id, "Friday is fine."], who=olga.user_id)
            assert (sent["success"], sent["seq"]) == (True, 1)
            found, _ = await gateway.call(*read, [thread, me], who=me)
            assert found["conversation"]["initial_message"] == FIRST_WORDS
            assert [m["content"] for m in found["messages"]] == ["Friday is fine."]

            # One connection serves everybody: nobody gets what the one before could see.
            for named, claimed, error in (
                (sam.user_id, sam.user_id, "not_found"),
                (me, sam.user_id, "permission_denied"),
                (me, None, "permission_denied"),
            ):
                refused, _ = await gateway.call(*read, [thread, named], who=claimed)
                assert refused["error"] == error
            for role in ("anon", "service_role"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await gateway.call(*read, [thread, me], who=me, role=role)
            assert await platform.violations() == []
        await postgres.drop(name)
        await admin.close()


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
