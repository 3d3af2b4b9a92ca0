"""The door for Supabase's clients over HTTP: what PostgREST would answer, and never a fault of ours."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from structlog.testing import capture_logs

from care_collective.accounts import tokens
from care_collective.db.call import Caller, Database
from care_collective.errors import CareError, Code, from_sqlstate
from care_collective.operations import catalogue
from care_collective.web import offered
from care_collective.web.services import Services, utc_now
from harness import FIRST_WORDS, Care, Person, Town
from web.calls import LEAKS, Stage, staged
from web.test_doors import forged
from web_harness import SETTINGS, MakeClient, bearer, browser, raw, services_for, serving, spoken, start

RPC = "/rest/v1/rpc/"
CREATE, SEND, GET = "create_conversation_atomic", "send_message_v2", "get_conversation_v2"
LEGACY = "legacy_open_conversation"
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def engine() -> str:
    """The door asks no stage: whoever calls V2 by its name gets it, on a node whose flag is off as well."""
    return "v1"


@pytest.fixture
async def stage(town: Town, client: MakeClient) -> Stage:
    """A town with an offer that V1 opened."""
    return await staged(town, client)


def offer(stage: Stage, words: str = FIRST_WORDS, *, helper: Person | None = None) -> dict[str, Any]:
    """The arguments of an offer on the fresh request."""
    who = helper or stage.helper
    return {"p_help_request_id": str(stage.fresh), "p_helper_id": str(who.user_id), "p_initial_message": words}


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of an error, held against everything that holds for every one under /rest."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), answer.text
    assert list(body) == ["code", "message", "details", "hint"]
    assert isinstance(body["message"], str)
    assert body["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert len(answer.headers["x-request-id"]) == 32
    assert ("www-authenticate" in answer.headers) == (status == 401)
    return body


async def test_the_three_functions_work_and_open_in_v2_whatever_the_stage(client: MakeClient, stage: Stage) -> None:
    helper, owner = client(stage.helper), client(stage.owner)
    opened = await helper.post(RPC + CREATE, json=offer(stage))
    assert (opened.status_code, opened.headers["content-type"]) == (200, "application/json")
    found = opened.json()
    assert (found["success"], set(found)) == (True, {"success", "conversation_id", "message"})
    assert await stage.town.count("public.conversations_v2") == 1
    again = await helper.post(RPC + CREATE, json=offer(stage))
    assert again.status_code == 200
    assert (again.json()["error"], again.json()["status"]) == ("conversation_exists", "active")
    assert again.json()["conversation_id"] == found["conversation_id"]
    thread = {"p_conversation_id": found["conversation_id"]}
    mine = str(stage.owner.user_id)
    sent = await owner.post(RPC + SEND, json={**thread, "p_sender_id": mine, "p_content": "Friday is fine."})
    assert (sent.json()["success"], sent.json()["seq"]) == (True, 1)
    read = await owner.post(RPC + GET, json={**thread, "p_user_id": mine})
    assert read.json()["conversation"]["initial_message"] == FIRST_WORDS
    assert [m["content"] for m in read.json()["messages"]] == ["Friday is fine."]
    assert len(read.headers["x-request-id"]) == 32


async def test_refusals_are_values(client: MakeClient, stage: Stage) -> None:
    for person, arguments, error, reason in (
        (stage.stranger, offer(stage), "permission_denied", "identity"),
        (stage.owner, offer(stage, helper=stage.owner), "validation_error", "own_request"),
        (stage.helper, offer(stage, "short"), "validation_error", None),
        (stage.helper, {**offer(stage), "p_help_request_id": NOBODY}, "not_found", None),
        (stage.helper, dict.fromkeys(offer(stage)), "permission_denied", "identity"),
        (stage.helper, {**offer(stage), "p_initial_message": None}, "validation_error", None),
        (stage.helper, {**offer(stage), "p_initial_message": 5}, "validation_error", None),
    ):
        answer = await client(person).post(RPC + CREATE, json=arguments)
        assert answer.status_code == 200, answer.text
        assert answer.json()["success"] is False
        assert (answer.json()["error"], answer.json().get("reason")) == (error, reason), arguments
    other = {"p_conversation_id": stage.conversation, "p_user_id": str(stage.owner.user_id)}
    assert (await client(stage.stranger).post(RPC + GET, json=other)).json()["reason"] == "identity"
    assert await stage.town.count("public.conversations_v2") == 0


async def test_an_opening_is_counted_once_and_a_refusal_is_no_failure(
    shared: Care, client: MakeClient, stage: Stage
) -> None:
    with capture_logs() as logged:
        await client(stage.helper).post(RPC + CREATE, json=offer(stage))
        await client(stage.helper).post(RPC + CREATE, json=offer(stage))
    lines = [line for line in logged if line["event"].startswith("messaging.")]
    assert [line["event"] for line in lines] == ["messaging.conversation.created", "messaging.refused"]
    assert {line["version"] for line in lines} == {"v2"}
    assert {line["endpoint"] for line in lines} == {CREATE}
    assert FIRST_WORDS not in json.dumps(logged, default=str)


async def test_a_node_whose_v2_is_off_answers_engine_off_and_counts_no_failure(shared: Care, stage: Stage) -> None:
    node = services_for(shared, messaging_v2_enabled=False, messaging_v2_rollout="on")
    async with browser(node, stage.town) as program:
        with capture_logs() as logged:
            answer = await program.post(RPC + CREATE, json=offer(stage), headers=bearer(stage.helper))
        assert answer.status_code == 200
        assert {**answer.json(), "message": ""} == {
            "success": False, "error": "unavailable", "reason": "engine_off", "message": "",
        }  # fmt: skip
        assert [line["event"] for line in logged if line["event"].startswith("messaging.")] == ["messaging.refused"]
        # What is open goes on.
        thread = {"p_conversation_id": stage.conversation, "p_user_id": str(stage.helper.user_id)}
        assert (await program.post(RPC + GET, json=thread, headers=bearer(stage.helper))).json()["success"]
    await node.close()
    assert await stage.town.count("public.conversations_v2") == 0


async def test_the_offered_functions_are_the_catalogues_and_all_their_types_are_read() -> None:
    known = offered.offered()
    assert set(known) >= {CREATE, SEND, GET, "list_conversations", "accept_offer", "create_help_request"}
    names = [function.plain_name for function in catalogue.offered(catalogue.declared())]
    assert len(names) == len(set(names))
    for arguments in known.values():
        for argument in arguments:
            assert argument.mode is None
            assert offered.read(argument, None) is None
            with pytest.raises(offered.BadValue):
                offered.read(argument, [])


async def test_every_offered_function_takes_nulls_without_a_fault(client: MakeClient, stage: Stage) -> None:
    program = client(stage.helper)
    for name, arguments in offered.offered().items():
        answer = await program.post(RPC + name, json={argument.name: None for argument in arguments})
        assert answer.status_code == 200, (name, answer.text)
        assert answer.json().get("error") not in {"server_error", "rpc_error"}, (name, answer.text)
        needed = {argument.name for argument in arguments if argument.value is None}
        if needed:
            given = {argument.name: None for argument in arguments if argument.name != min(needed)}
            refused(await program.post(RPC + name, json=given), 404, "PGRST202")
        else:
            # A coordinator's is refused for who calls, and for nothing else.
            assert (await program.post(RPC + name)).json().get("reason") in {None, "role"}, name


async def test_an_unknown_function_and_wrong_names_are_told_as_postgrest_tells_them(
    client: MakeClient, stage: Stage
) -> None:
    program, good = client(stage.helper), offer(stage)
    missing = {name: value for name, value in good.items() if name != "p_helper_id"}
    for function, arguments, called in (
        ("create_conversation", {"b": 1, "a": 2}, "create_conversation(a, b)"),
        ("nothing_like_it", {}, "nothing_like_it without parameters"),
        (CREATE, {**good, "p_force": True}, f"{CREATE}(p_force, p_help_request_id, p_helper_id, p_initial_message)"),
        (CREATE, missing, f"{CREATE}(p_help_request_id, p_initial_message)"),
        (CREATE, {}, f"{CREATE} without parameters"),
        ("doctor", {}, "doctor without parameters"),
        ("violations", {}, "violations without parameters"),
        ("care.caller", {}, "care.caller without parameters"),
        # V1's own steps would open conversations that nobody counts.
        (
            LEGACY,
            {"p_help_request_id": None, "p_initial_message": None},
            f"{LEGACY}(p_help_request_id, p_initial_message)",
        ),
        ("pg_sleep", {"a": 1}, "pg_sleep(a)"),
        ("x;select 1", {}, "x;select 1 without parameters"),
        ("caf\u00e9", {"\u2028": 1}, "caf\u00e9(\u2028)"),
    ):
        body = refused(await program.post(RPC + function, json=arguments), 404, "PGRST202")
        assert body["message"] == f"Could not find the function public.{called} in the schema cache"
        assert body["details"].startswith(f"Searched for the function public.{function} with")
    near = refused(await program.post(f"{RPC}send_message", json={}), 404, "PGRST202")
    assert near["hint"] == "Perhaps you meant to call the function public.send_message_v2"
    meant = refused(await program.post(RPC + CREATE, json=missing), 404, "PGRST202")["hint"]
    assert meant.endswith(f"public.{CREATE}(p_help_request_id, p_helper_id, p_initial_message)")
    assert await stage.town.count("public.conversations_v2") == 0


def wrong_types(person: Person) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A call, its arguments with a wrong one among them, and the SQLSTATE."""
    mine, value = str(person.user_id), cast(Any, None)
    thread = {"p_conversation_id": NOBODY, "p_user_id": mine}
    for value in (
        "",
        "nonsense",
        mine[:-1],
        f"{mine} ",
        f"urn:uuid:{mine}",
        "{" + mine,
        mine + "\u0660",
        5,
        True,
        [],
        {},
    ):
        yield GET, {**thread, "p_conversation_id": value}, "22P02"
        yield GET, {**thread, "p_user_id": value}, "22P02"
    for value in ("", "x", "1.0", 1.0, 1.5, 1e300, "1e2", "5 5", "\u0665", True, [1], {"a": 1}, "+", "0x10"):
        yield "list_conversations", {"p_limit": value}, "22P02"
    for large in (2**31, -(2**31) - 1, "9" * 5000, 10**400):
        yield "list_conversations", {"p_limit": large}, "22003"
    for value in ("", "o", "yess", 2, "2", [], {}, 1.0):
        yield "list_help_requests", {"p_mine": value}, "22P02"
    for value in ([], ["a"], {}, {"a": {"b": 1}}):
        yield "list_help_requests", {"p_search": value}, "22P02"
    for value in ("", "soon", "infinity", 5, True, [], {}, "2100-13-01T00:00:00Z", "2100-01-01T00:00:00Zulu"):
        yield "mute_conversation", {"p_conversation_id": NOBODY, "p_until": value}, "22P02"
    yield "mute_conversation", {"p_conversation_id": NOBODY, "p_until": "0001-01-01T00:00:00+23:59"}, "22003"


async def test_a_wrong_type_is_refused_without_a_word_of_the_value(client: MakeClient, stage: Stage) -> None:
    program = client(stage.helper)
    for function, arguments, code in wrong_types(stage.helper):
        content = json.dumps(arguments).encode()
        headers = {"content-type": "application/json"}
        body = refused(await program.post(RPC + function, content=content, headers=headers), 400, code)
        assert body["message"].endswith(
            ("type uuid", "type integer", "type boolean", "type text", "type timestamp with time zone")
        ), body
    secret = {"p_conversation_id": "I am ill and need help", "p_user_id": str(stage.helper.user_id)}
    answer = await program.post(RPC + GET, json=secret)
    assert refused(answer, 400, "22P02")["details"] == "Argument p_conversation_id."
    assert "ill" not in answer.text.replace("null", "")


async def test_texts_are_read_as_postgresql_reads_them(client: MakeClient, stage: Stage) -> None:
    program = client(stage.owner)
    mine, value = str(stage.owner.user_id), cast(Any, None)
    for value in (mine.upper(), mine.replace("-", ""), "{" + mine + "}"):
        thread = {"p_conversation_id": stage.conversation, "p_user_id": value}
        assert (await program.post(RPC + GET, json=thread)).json()["success"], value
    for value in ("5", 5, " 5\n", "+5", "005", "-0005"):
        found = (await program.post(f"{RPC}list_conversations", json={"p_limit": value})).json()
        assert found.get("error") == ("validation_error" if "-" in str(value) else None), value
    for value, own in (
        (True, True),
        ("true", True),
        ("Yes", True),
        (1, True),
        ("on", True),
        ("f", False),
        ("0", False),
    ):
        found = (await program.post(f"{RPC}list_help_requests", json={"p_mine": value})).json()
        assert len(found["help_requests"]) == 2, value
        theirs = await client(stage.helper).post(f"{RPC}list_help_requests", json={"p_mine": value})
        assert len(theirs.json()["help_requests"]) == (0 if own else 2), value
    sent = {"p_conversation_id": stage.conversation, "p_sender_id": mine, "p_content": 12.50}
    content = json.dumps(sent).replace("12.5", "12.50").encode()
    assert (await program.post(RPC + SEND, content=content, headers={"content-type": "application/json"})).json()[
        "success"
    ]
    thread = {"p_conversation_id": stage.conversation, "p_user_id": mine}
    assert (await program.post(RPC + GET, json=thread)).json()["messages"][-1]["content"] == "12.50"


BAD_BODIES = (
    b"[]", b"[{}]", b"null", b"5", b'"text"', b"{", b'{"a":1,}', b"{'a': 1}", b"nonsense", b"\xff\xfe{}", b'{"a": NaN}',
    b"\xef\xbb\xbf{}", b'{"a": 1, "a": 2}', b'{"p_limit": "\\ud800"}', b'{"p_limit": "\\u0000"}', b'{"\\ud800": 1}',
    b'{"p_cursor": "\\u0000"}', b"[" * 60_000, b'{"a":' * 9_000, b" ", b"\x00", b'{"p_limit": ' + b"9" * 60_000,
)  # fmt: skip


@pytest.mark.parametrize("content", BAD_BODIES, ids=lambda c: repr(c[:16]))
async def test_a_body_that_is_no_object_is_refused(client: MakeClient, stage: Stage, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await client(stage.helper).post(f"{RPC}list_conversations", content=content, headers=headers)
    assert not LEAKS.search(refused(answer, 400, "PGRST102")["message"])


async def test_no_body_calls_without_arguments(client: MakeClient, stage: Stage) -> None:
    program = client(stage.helper)
    for headers in ({}, {"content-type": "application/json"}, {"content-type": "Application/JSON; charset=utf-8"}):
        for content in (b"", b"{}"):
            answer = await program.post(f"{RPC}list_conversations", content=content, headers=headers)
            assert len(answer.json()["conversations"]) == 1


async def test_media_types_schemas_and_preferences(client: MakeClient, stage: Stage) -> None:
    program, path = client(stage.helper), f"{RPC}list_conversations"
    for accept, media_type in (
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/json;q=0.5, text/csv", "application/json"),
        ("application/vnd.pgrst.object+json", "application/vnd.pgrst.object+json"),
        ("application/vnd.pgrst.object+json;nulls=stripped", "application/vnd.pgrst.object+json"),
        ("application/vnd.pgrst.array+json;nulls=stripped", "application/json"),
        ("", "application/json"),
    ):
        answer = await program.post(path, json={}, headers={"accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type), accept
        assert answer.json()["next_cursor"] is None
    for accept in ("text/csv", "application/geo+json", "nonsense", ",;,", "application/vnd.pgrst.plan+text"):
        refused(await program.post(path, json={}, headers={"accept": accept}), 406, "PGRST107")
    for kind in ("text/plain", "text/csv", "application/x-www-form-urlencoded", "multipart/form-data", "a", ""):
        answer = await program.post(path, content=b"{}", headers={"content-type": kind})
        refused(answer, 400, "PGRST102")
    assert (await program.post(path, json={}, headers={"content-profile": "public"})).status_code == 200
    for schema in ("care", "auth", "pg_catalog", "", "PUBLIC", "public, care"):
        body = refused(await program.post(path, json={}, headers={"content-profile": schema}), 406, "PGRST106")
        assert body["hint"] == "Only the following schemas are exposed: public"
    for prefer in ("count=exact", "return=minimal", "params=single-object", "handling=strict, nonsense", "tx=rollback"):
        answer = await program.post(f"{path}?select=*&limit=1&p_limit=x", json={}, headers={"prefer": prefer})
        assert answer.status_code == 200, prefer


async def test_other_methods_and_other_paths_are_told_in_the_same_shape(client: MakeClient, stage: Stage) -> None:
    program = client(stage.helper)
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        answer = await program.request(method, f"{RPC}list_conversations?p_limit=5")
        assert refused(answer, 405, "PGRST101")["message"] == f"Cannot use the {method} method on RPC"
        assert "POST" in answer.headers["allow"]
    head = await program.head(f"{RPC}list_conversations")
    assert (head.status_code, head.content) == (405, b"")
    for path, code in (
        ("/rest/v1/profiles", "PGRST205"),
        ("/rest/v1/users?select=*", "PGRST205"),
        ("/rest/v1/rpc/a/b", "PGRST125"),
        ("/rest/v2/rpc/list_conversations", "PGRST125"),
        ("/rest/v1/", "PGRST125"),
        ("/rest", "PGRST125"),
    ):
        for method in ("GET", "POST", "PATCH"):
            refused(await program.request(method, path, json={}), 404, code)
    assert (await program.get("/restaurant")).headers["content-type"].startswith("text/html")


async def test_who_has_no_token_and_who_has_a_bad_one(client: MakeClient, stage: Stage) -> None:
    now = int(time.time())
    secret, helper = SETTINGS.jwt_secret or "", stage.helper
    claims = {"sub": str(helper.user_id), "role": "authenticated", "aud": "authenticated", "exp": now + 600}
    claims["app_metadata"] = {"community_id": str(stage.town.community_id)}
    good, foreign = forged(claims), forged(claims, secret="another secret, also of 32 bytes or so")
    old = tokens.issue(secret, user_id=helper.user_id, community_id=None, now=utc_now().replace(year=2020))
    # A platform's own keys: well signed, without a subject and an audience.
    anon, service = (
        forged({"iss": "supabase", "role": role, "iat": now, "exp": now + 600}) for role in ("anon", "service_role")
    )
    old_and_foreign = forged(claims | {"exp": now - 600}, secret="another secret, also of 32 bytes or so")
    forged_service = forged({"role": "service_role", "exp": now + 600}, secret="another secret, also of 32 bytes or so")
    program = client(None)
    for number, (authorization, apikey, status, code) in enumerate(
        (
            (good, None, 200, None),
            (good, anon, 200, None),
            (good, "nonsense", 200, None),
            (None, good, 200, None),
            (None, None, 401, "42501"),
            (anon, anon, 401, "42501"),
            (None, anon, 401, "42501"),
            (service, service, 403, "42501"),
            (None, service, 403, "42501"),
            (None, "nonsense", 401, "PGRST301"),
            (None, "", 401, "PGRST301"),
            ("nonsense", good, 401, "PGRST301"),
            ("", good, 401, "PGRST301"),
            (old, anon, 401, "PGRST301"),
            (foreign, None, 401, "PGRST301"),
            (old_and_foreign, None, 401, "PGRST301"),
            (forged_service, None, 401, "PGRST301"),
            (forged(claims | {"role": "postgres"}), None, 401, "PGRST301"),
            (forged(claims | {"aud": "other"}), None, 401, "PGRST301"),
            (forged(claims, algorithm="none").rpartition(".")[0] + ".", None, 401, "PGRST301"),
        )
    ):
        headers = {} if authorization is None else {"Authorization": f"Bearer {authorization}"}
        headers |= {} if apikey is None else {"apikey": apikey}
        answer = await program.post(f"{RPC}list_conversations", json={}, headers=headers)
        if code is None:
            assert (answer.status_code, len(answer.json()["conversations"])) == (200, 1), number
            continue
        body = refused(answer, status, code)
        if code == "42501":
            assert body["message"] == "permission denied for function list_conversations"
        else:
            assert body["message"] == ("JWT expired" if authorization == old else "JWT invalid"), number
    # Another scheme is no token, as on a platform: the key beside it is judged.
    basic = {"Authorization": "Basic YTpi"}
    refused(await program.post(f"{RPC}list_conversations", json={}, headers=basic), 401, "42501")
    answer = await program.post(f"{RPC}list_conversations", json={}, headers={**basic, "apikey": good})
    assert answer.status_code == 200


async def test_a_cookie_opens_nothing_here(services: Services, town: Town) -> None:
    async with browser(services, town) as someone:
        form = {"email": f"nia-{uuid4().hex[:12]}@example.org", "password": "three words in a row"}
        joined = await someone.post("/api/auth/sign-up", json={**form, "display_name": "Nia", "town": "Linden"})
        assert (await someone.get("/api/auth/me")).status_code == 200
        headers = {"x-csrf-token": joined.json()["csrf_token"]}
        refused(await someone.post(f"{RPC}list_conversations", json={}, headers=headers), 401, "42501")


async def test_a_token_without_a_community_acts_in_the_hosts(services: Services, town: Town) -> None:
    person = await town.member()
    token = tokens.issue(SETTINGS.jwt_secret or "", user_id=person.user_id, community_id=None, now=utc_now())
    headers = {"Authorization": f"Bearer {token}"}
    async with browser(services, town) as program:
        here = await program.post(f"{RPC}list_conversations", json={}, headers=headers)
        assert here.json()["conversations"] == []
        # Well signed and of no community: the function refuses, and a refusal is a value.
        nowhere = await program.post(
            f"{RPC}list_conversations", json={}, headers={**headers, "host": "nowhere.example"}
        )
        assert (nowhere.status_code, nowhere.json()["reason"]) == (200, "identity")


async def test_the_same_key_is_answered_as_before_and_another_content_is_a_mismatch(
    client: MakeClient, stage: Stage
) -> None:
    program = client(stage.helper)
    key = {"Idempotency-Key": uuid4().hex}
    first = await program.post(RPC + CREATE, json=offer(stage), headers=key)
    again = await program.post(RPC + CREATE, json=offer(stage), headers=key)
    assert (again.status_code, again.json()) == (200, first.json())
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    other = await program.post(RPC + CREATE, json=offer(stage, "Other words than before."), headers=key)
    assert (other.status_code, other.json()["error"]) == (200, "idempotency_mismatch")
    # The key of one door is the other's: it is one verb.
    over_api = await program.post(
        f"/api/messaging/conversations/{stage.conversation}/messages", json={"content": "Hello!"}, headers=key
    )
    assert (over_api.status_code, over_api.json()["code"]) == (422, "idempotency_mismatch")
    for bad in ("", "a" * 256, " a "):
        headers = {"Idempotency-Key": bad}
        refused(await program.post(RPC + CREATE, json=offer(stage), headers=headers), 400, "PGRST102")
    assert await stage.town.count("public.conversations_v2") == 1


class Broken(Database):
    """A database whose calls of public functions end in a given way."""

    def __init__(self, pool: asyncpg.Pool, error: Exception) -> None:
        super().__init__(pool)
        self.error = error

    async def call(self, function: str, caller: Caller = Caller(), /, **arguments: object) -> Any:  # noqa: ANN401, B008
        raise self.error


@pytest.fixture
def broken(stage: Stage) -> Any:  # noqa: ANN401
    """Calls the door of a node whose database ends each call with an error; two functions, one of them counted."""

    async def ask(error: Exception, function: str) -> httpx.Response:
        care = stage.town.care
        node = services_for(Care(care.name, care.server, Broken(care.database.pool, error), care.owner))
        arguments = offer(stage) if function == CREATE else {}
        async with browser(node, stage.town) as program:
            answer = await program.post(RPC + function, json=arguments, headers=bearer(stage.helper))
        await node.close()
        return answer

    return ask


@pytest.mark.parametrize("function", [CREATE, "list_conversations"])
async def test_a_transient_fault_is_503_with_its_sqlstate_and_any_other_500_without_details(
    function: str,
    broken: Any,  # noqa: ANN401
) -> None:
    for sqlstate in ("08006", "40001", "40P01", "53300", "55P03", "57014", "57P01"):
        with capture_logs() as logged:
            answer = await broken(from_sqlstate(sqlstate), function)
        refused(answer, 503, sqlstate)
        assert answer.headers["retry-after"] == "1"
        counted = [line["event"] for line in logged if line["event"].startswith("messaging.")]
        assert counted == (["messaging.error"] if function == CREATE else [])
    away = await broken(CareError(Code.UNAVAILABLE, retry_after=1), function)
    assert (refused(away, 503, "PGRST000")["details"], away.headers["retry-after"]) == (None, "1")
    for fault in (from_sqlstate("42P01"), from_sqlstate("23505"), from_sqlstate("42501"), ValueError("select 1")):
        answer = await broken(fault, function)
        body = refused(answer, 500, "XX000")
        assert body["details"] is None
        assert body["hint"] == f"Reference: {answer.headers['x-request-id']}"
        assert not LEAKS.search(body["message"])


async def test_a_lock_that_is_held_is_told_by_its_real_sqlstate(client: MakeClient, stage: Stage) -> None:
    holder = await stage.town.care.connect()
    async with holder.transaction():
        await holder.execute("select 1 from public.help_requests where id = $1 for update", stage.fresh)
        words = {"initial_message": FIRST_WORDS}
        answer, shown = await asyncio.gather(  # each waits as long as a call does for a lock
            client(stage.helper).post(RPC + CREATE, json=offer(stage)),
            client(stage.stranger).post(start(stage.fresh), json=words),
        )
        refused(answer, 503, "55P03")
        assert (shown.status_code, "55P03" in shown.text, "sqlstate" in shown.text) == (503, False, False)
    await holder.close()


async def test_a_page_of_another_site_may_call(client: MakeClient, stage: Stage) -> None:
    asked = {
        "origin": "https://front.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "apikey,authorization,content-type,x-client-info",
    }
    answer = await client(None).options(RPC + CREATE, headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "apikey", "content-type", "idempotency-key", "*"} <= set(allowed)
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in answer.headers
    called = await client(stage.helper).post(RPC + CREATE, json=offer(stage), headers={"origin": asked["origin"]})
    assert called.headers["access-control-allow-origin"] == "*"
    assert "Idempotency-Replayed" in called.headers["access-control-expose-headers"]
    # Under /api cookies count, so no other site may read there.
    assert "access-control-allow-origin" not in (await client(stage.helper).get("/api/requests")).headers


async def test_hammering_is_told_in_the_same_shape(services: Services, town: Town) -> None:
    async with browser(services, town, address=(f"198.51.100.{uuid4().bytes[0]}", 9)) as program:
        for _ in range(1000):
            answer = await program.get(RPC + CREATE)
            if answer.status_code != 405:
                break
        refused(answer, 429, "rate_limited")
        assert int(answer.headers["retry-after"]) > 0


PIECE = b"10000\r\n" + b"a" * 65536 + b"\r\n"


async def test_what_only_a_real_socket_can_say(services: Services, stage: Stage) -> None:
    path = RPC + "list_conversations"
    headers = {"Host": stage.town.host, "Content-Type": "application/json", **bearer(stage.helper)}
    chunked = {**headers, "Transfer-Encoding": "chunked"}
    with capture_logs() as logged:
        async with serving(services) as port:
            old = raw("POST", path, {**headers, "Content-Length": "2"}, b"{}").replace(b"HTTP/1.1", b"HTTP/1.0")
            answer = await spoken(port, old)
            assert b" 200 " in answer.partition(b"\r\n")[0]
            assert b'"conversations"' in answer
            # HTTP/1.0 without a length has no body.
            bare = raw("POST", path, headers).replace(b"HTTP/1.1", b"HTTP/1.0")
            assert b" 200 " in (await spoken(port, bare)).partition(b"\r\n")[0]
            large = await spoken(port, raw("POST", path, {**headers, "Content-Length": "10000000"}))
            assert b" 413 " in large.partition(b"\r\n")[0]
            assert b'"code":"too_large","message":' in large
            endless = await spoken(port, raw("POST", path, chunked), *[PIECE] * 160, b"0\r\n\r\n", half=True)
            assert b" 413 " in endless.partition(b"\r\n")[0]
            whole = await spoken(port, raw("POST", path, chunked), b"2\r\n{}\r\n0\r\n\r\n")
            assert b" 200 " in whole.partition(b"\r\n")[0]
            for nonsense in (
                b"zz\r\n{}\r\n0\r\n\r\n",
                b"2\r\n{}xx",
                b"-1\r\n",
                b"ffffffffffffffffff\r\n{}",
                b"\x00\xff",
            ):
                answer = await spoken(port, raw("POST", path, chunked), nonsense, half=True)
                assert answer == b"" or b" 400 " in answer.partition(b"\r\n")[0], (nonsense, answer)
            await spoken(port, raw("POST", path, {**headers, "Content-Length": "50"}, b'{"p_limit'), wait=False)
            assert (await spoken(port, raw("GET", "/api/health/live", headers))).startswith(b"HTTP/1.1 200")
    assert [line for line in logged if line["event"] == "web.fault" or line.get("status", 0) >= 500] == []


async def test_a_wrong_person_sees_what_an_absent_thing_shows(client: MakeClient, stage: Stage) -> None:
    me = str(stage.stranger.user_id)
    answers = [
        (await client(stage.stranger).post(RPC + GET, json={"p_conversation_id": thread, "p_user_id": me})).json()
        for thread in (stage.conversation, str(uuid4()))
    ]
    assert answers[0] == answers[1]
    assert answers[0]["error"] == "not_found"
    content = {"p_sender_id": me, "p_content": "Hello"}
    sent = [
        (await client(stage.stranger).post(RPC + SEND, json={"p_conversation_id": str(UUID(t)), **content})).json()
        for t in (stage.conversation, str(uuid4()))
    ]
    assert sent[0] == sent[1]
    assert sent[0]["reason"] == "not_participant"
