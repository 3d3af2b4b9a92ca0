"""Supabase's own clients at the door, unchanged: supabase-py, and supabase-js from npm, over a real socket."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from postgrest import APIError, AsyncPostgrestClient
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from care_collective.accounts import tokens
from care_collective.web.services import Services, utc_now
from harness import FIRST_WORDS, Person, Town
from npm_harness import SUPABASE_JS, brought
from web.calls import Stage, staged
from web.test_doors import forged
from web_harness import SETTINGS, MakeClient, bearer, serving

CREATE, SEND, GET = "create_conversation_atomic", "send_message_v2", "get_conversation_v2"


@pytest.fixture
def engine() -> str:
    """The door asks no stage: one is enough."""
    return "v1"


@pytest.fixture
async def stage(town: Town, client: MakeClient) -> Stage:
    """A town with a request that nobody has offered help on."""
    return await staged(town, client)


@pytest.fixture
async def address(services: Services, stage: Stage) -> AsyncIterator[str]:
    """Where a front end is pointed instead of at its Supabase project."""
    async with serving(services) as port:
        yield f"http://127.0.0.1:{port}"


def anon_key() -> str:
    """What a Supabase project gives its front ends: a token of the role anon, for ten years and for nobody."""
    return forged({"iss": "supabase", "ref": "care", "role": "anon", "exp": int(time.time()) + 600})


def token(person: Person) -> str:
    """A member's access token."""
    return bearer(person)["Authorization"].removeprefix("Bearer ")


def expired(person: Person) -> str:
    """A member's access token of long ago."""
    old = utc_now().replace(year=2020)
    return tokens.issue(SETTINGS.jwt_secret or "", user_id=person.user_id, community_id=None, now=old)


MakePython = Callable[..., Awaitable[AsyncClient]]


@pytest.fixture
async def python(address: str) -> AsyncIterator[MakePython]:
    """Makes supabase-py as a program does: signed in with a token, or signed out with the project's key alone."""
    async with httpx.AsyncClient() as connections:  # it closes none of its own

        async def make(access_token: str | None, **headers: str) -> AsyncClient:
            if access_token is not None:
                headers["Authorization"] = f"Bearer {access_token}"
            options = AsyncClientOptions(headers=headers, httpx_client=connections, auto_refresh_token=False)
            return await acreate_client(address, anon_key(), options)

        yield make


async def told(client: AsyncClient | AsyncPostgrestClient, function: str, arguments: dict[str, Any]) -> APIError:
    """The error that a call ends in."""
    with pytest.raises(APIError) as caught:
        await client.rpc(function, arguments).execute()
    return caught.value


async def test_supabase_py_works_unchanged(python: MakePython, stage: Stage) -> None:
    helper, owner = str(stage.helper.user_id), str(stage.owner.user_id)
    offer = {"p_help_request_id": str(stage.fresh), "p_helper_id": helper, "p_initial_message": FIRST_WORDS}
    as_helper, as_owner = await python(token(stage.helper)), await python(token(stage.owner))

    made: Any = (await as_helper.rpc(CREATE, offer).execute()).data
    assert made["success"] is True
    again: Any = (await as_helper.rpc(CREATE, offer).execute()).data
    assert (again["error"], again["conversation_id"]) == ("conversation_exists", made["conversation_id"])
    keyed = await python(token(stage.owner), **{"Idempotency-Key": uuid4().hex})
    message = {"p_conversation_id": made["conversation_id"], "p_sender_id": owner, "p_content": "Come by at ten."}
    sent: Any = [(await keyed.rpc(SEND, message).execute()).data for _ in range(2)]
    assert sent[0] == sent[1]
    assert sent[0]["seq"] == 1
    thread = {"p_conversation_id": made["conversation_id"], "p_user_id": owner}
    read: Any = (await as_owner.rpc(GET, thread).execute()).data
    assert [m["content"] for m in read["messages"]] == ["Come by at ten."]
    single: Any = (await as_owner.rpc(GET, thread).single().execute()).data
    assert single == read
    assert (await as_owner.rpc("list_conversations", {}).execute()).data

    # A refusal is data, as the functions answer it; an error is one.
    stranger = await python(token(stage.stranger))
    wrong: Any = (await stranger.rpc(GET, thread).execute()).data
    assert (wrong["error"], wrong["reason"]) == ("permission_denied", "identity")
    foreign: Any = (await stranger.rpc(GET, {**thread, "p_user_id": str(stage.stranger.user_id)}).execute()).data
    assert foreign["error"] == "not_found"
    for access_token, code, words in (
        (None, "42501", "permission denied for function get_conversation_v2"),
        (expired(stage.owner), "PGRST301", "JWT expired"),
        ("nonsense", "PGRST301", "JWT invalid"),
    ):
        error = await told(await python(access_token), GET, thread)
        assert (error.code, error.message) == (code, words)
    wrong_type = await told(as_owner, GET, {**thread, "p_user_id": "nonsense"})
    assert (wrong_type.code, wrong_type.message) == ("22P02", "invalid input syntax for type uuid")
    assert (await told(as_owner, GET, {**thread, "p_force": True})).code == "PGRST202"
    assert (await told(as_owner, "drop_everything", {})).code == "PGRST202"
    assert (await told(as_owner.schema("care"), "caller", {})).code == "PGRST106"
    with pytest.raises(APIError) as got:
        await as_owner.rpc("list_conversations", {}, get=True).execute()
    assert got.value.code == "PGRST101"
    with pytest.raises(APIError) as table:
        await as_owner.table("profiles").select("*").execute()
    assert table.value.code == "PGRST205"
    assert await stage.town.count("public.messages_v2") == 1


PROGRAM = """
import { createClient } from '@supabase/supabase-js'

globalThis.WebSocket ??= class {} // every browser has one, Node from 22 on; nothing here opens it
const { address, key, tokens, offer, owner, stranger } = JSON.parse(process.argv[2])
const options = { auth: { persistSession: false, autoRefreshToken: false } }
const signedIn = (name, headers = {}) =>
  createClient(address, key, { ...options, accessToken: async () => tokens[name], global: { headers } })
const out = {}
const call = async (name, client, fn, args, how = (query) => query) => {
  const { data, error, status } = await how(client.rpc(fn, args))
  out[name] = { data, error: error && { ...error, message: error.message }, status }
  return data
}

const made = await call('made', signedIn('helper'), 'create_conversation_atomic', offer)
await call('again', signedIn('helper'), 'create_conversation_atomic', offer)
const thread = { p_conversation_id: made.conversation_id, p_user_id: owner }
const message = { p_conversation_id: made.conversation_id, p_sender_id: owner, p_content: 'Come by at ten.' }
const keyed = signedIn('owner', { 'Idempotency-Key': 'once-and-only-once' })
await call('sent', keyed, 'send_message_v2', message)
await call('sentAgain', keyed, 'send_message_v2', message)
await call('read', signedIn('owner'), 'get_conversation_v2', thread)
await call('single', signedIn('owner'), 'get_conversation_v2', thread, (query) => query.single())
await call('bare', signedIn('owner'), 'list_conversations')
await call('wrongPerson', signedIn('stranger'), 'get_conversation_v2', thread)
await call('foreign', signedIn('stranger'), 'get_conversation_v2', { ...thread, p_user_id: stranger })
await call('signedOut', createClient(address, key, options), 'get_conversation_v2', thread)
await call('expired', signedIn('expired'), 'get_conversation_v2', thread)
await call('wrongKey', createClient(address, 'sb_publishable_nonsense', options), 'get_conversation_v2', thread)
await call('wrongType', signedIn('owner'), 'get_conversation_v2', { ...thread, p_user_id: 'nonsense' })
await call('overload', signedIn('owner'), 'get_conversation_v2', { ...thread, p_force: true })
await call('unknown', signedIn('owner'), 'drop_everything', {})
await call('schema', signedIn('owner').schema('care'), 'caller', {})
await call('csv', signedIn('owner'), 'list_conversations', {}, (query) => query.csv())
const table = await signedIn('owner').from('profiles').select()
out.table = { error: { ...table.error }, status: table.status }
console.log(JSON.stringify(out))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with supabase-js."""
    folder = brought(tmp_path_factory, SUPABASE_JS)
    (folder / "program.mjs").write_text(PROGRAM)
    return folder


async def test_supabase_js_works_unchanged(project: Path, address: str, stage: Stage) -> None:
    people = {"helper": stage.helper, "owner": stage.owner, "stranger": stage.stranger}
    given = {
        "address": address,
        "key": anon_key(),
        "tokens": {name: token(person) for name, person in people.items()} | {"expired": expired(stage.owner)},
        "offer": {
            "p_help_request_id": str(stage.fresh),
            "p_helper_id": str(stage.helper.user_id),
            "p_initial_message": FIRST_WORDS,
        },
        "owner": str(stage.owner.user_id),
        "stranger": str(stage.stranger.user_id),
    }
    node = await asyncio.create_subprocess_exec(
        shutil.which("node") or "node", "program.mjs", json.dumps(given),
        cwd=project, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, complaints = await asyncio.wait_for(node.communicate(), 60)
    assert node.returncode == 0, complaints.decode()
    out = json.loads(printed)
    made = out["made"]["data"]
    assert (made["success"], out["made"]["status"]) == (True, 200)
    assert out["again"]["data"]["error"] == "conversation_exists"
    assert out["again"]["data"]["conversation_id"] == made["conversation_id"]
    assert out["sent"] == out["sentAgain"]
    assert out["sent"]["data"]["seq"] == 1
    assert [m["content"] for m in out["read"]["data"]["messages"]] == ["Come by at ten."]
    assert out["single"] == out["read"]
    assert len(out["bare"]["data"]["conversations"]) == 2
    assert (out["wrongPerson"]["data"]["reason"], out["foreign"]["data"]["error"]) == ("identity", "not_found")
    for name, status, code in (
        ("signedOut", 401, "42501"),
        ("expired", 401, "PGRST301"),
        ("wrongKey", 401, "PGRST301"),
        ("wrongType", 400, "22P02"),
        ("overload", 404, "PGRST202"),
        ("unknown", 404, "PGRST202"),
        ("schema", 406, "PGRST106"),
        ("csv", 406, "PGRST107"),
        ("table", 404, "PGRST205"),
    ):
        assert (out[name]["status"], out[name]["error"]["code"]) == (status, code), (name, out[name])
    assert out["expired"]["error"]["message"] == "JWT expired"
    assert await stage.town.count("public.messages_v2") == 1
