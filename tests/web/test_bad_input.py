"""Every field of every endpoint against bad input: the right code, plain words, nothing written, nothing leaked."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import Town
from web.calls import Call, Stage, calls, staged
from web_harness import MakeClient, start

JSON = {"content-type": "application/json"}
TEXTS = {
    "initial_message": (10, 1000),
    "content": (1, 1000),
    "title": (5, 100),
    "description": (0, 1000),
    "exchange_offer": (0, 300),
    "reason": (0, 500),
    "display_name": (1, 80),
    "town": (0, 80),
    "application_words": (0, 500),
    "email": (1, 254),
    "password": (10, 200),
}
CHOICES = ("category", "urgency")
OPTIONAL = {"description", "urgency", "exchange_offer", "reason", "town", "application_words"}
NULLABLE = OPTIONAL - {"urgency"}
# What only the sign-in form takes at its word: any wrong text there is a wrong password.
SIGN_IN = "/api/auth/sign-in"
# The verbs whose decision needs no reason: it is read and not used.
REASONLESS = ("accept-offer", "step-back", "release-helper")
LEAKS = re.compile(
    r"select |insert |update |relation|constraint|_check|_fkey|_pkey|care\.|public\.|pg_|asyncpg|msgspec|litestar"
    r"|Traceback|Error\b|Exception|NoneType|\bstr\b|\bint\b|Struct|\$\.|\$\d|p_[a-z]+|sqlstate|/src/|\.py",
    re.IGNORECASE,
)
TABLES = (
    "public.help_requests",
    "public.conversations",
    "public.conversation_participants",
    "public.messages",
    "public.conversations_v2",
    "public.messages_v2",
    "public.conversation_members",
    "public.profiles",
    "care.outbox",
    "care.idempotency_keys",
    "care.rate_counters",
)


@pytest.fixture
async def stage(town: Town, client: MakeClient) -> Stage:
    """An offer made in the engine under test."""
    return await staged(town, client)


async def contents(stage: Stage) -> dict[str, Any]:
    """How many rows each table holds for this town, and what the conversation and its request are in."""
    found: dict[str, Any] = {table: await stage.town.count(table) for table in TABLES}
    found["status"] = await stage.town.care.owner.fetchval(
        "select status from public.help_requests where id = $1", stage.request
    )
    return found


def refused(answer: httpx.Response, case: object, status: int = 400, code: str = "validation_error") -> dict[str, Any]:
    """The body of a refusal, held against everything that holds for every one."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), (case, answer.status_code, body)
    assert body["request_id"] == answer.headers["x-request-id"], case
    assert re.match(r"[A-Z].*[.!…]$", body["error"], re.DOTALL), (case, body)
    said = json.dumps([body["error"], list(body.get("fields", {}).values())])
    assert not LEAKS.search(said), (case, said)
    return body


def wrong_types(name: str) -> Iterator[str]:
    """Every JSON type that a field is not, as JSON text."""
    text = name != "seq"
    yield from ("true", "1.5", "[]", "{}", '{"a": {"b": [1]}}', "1e400", "-1e400", "9" * 4000, "[" * 300 + "]" * 300)
    yield '"1"' if not text else "7"
    if name not in NULLABLE:
        yield "null"


def bad_texts(call: Call, name: str) -> Iterator[str]:
    """Texts of the right type that break the field's rule, as JSON text."""
    yield from (r'"a good long text \u0000"', r'"a good long text \ud800"', r'"\udfff\ud800 a good long text"')
    if call.template == SIGN_IN or (name == "reason" and call.template.endswith(REASONLESS)):
        return
    if name in CHOICES:
        yield from ('"nonsense"', '""', '"OTHER"')
    if name in TEXTS:
        minimum, maximum = TEXTS[name]
        yield json.dumps("wörds " * 1700 if maximum > 300 else "wörds " * (maximum // 6 + 1))
        if minimum > 1:
            yield json.dumps("x" * (minimum - 1))
        if minimum > 0 and name != "password":
            yield from (
                json.dumps(blank) for blank in ("", "   ", "\u2800\u3164", "\u200b\u2060", "\ufeff\u00ad", "\n\t")
            )
    if name == "conversation_id":
        yield from ('"nonsense"', '""', f'"{uuid4()}x"', '"\u00e9"')


def with_field(call: Call, name: str, value: str) -> bytes:
    """The call's good body with one field's value written as given."""
    members = {key: json.dumps(good) for key, good in (call.body or {}).items()} | {name: value}
    return ("{" + ", ".join(f'"{key}": {text}' for key, text in members.items()) + "}").encode()


def writers(stage: Stage) -> Iterator[Call]:
    return (call for call in calls(stage) if call.body is not None)


async def test_the_table_of_calls_is_the_description(client: MakeClient, stage: Stage) -> None:
    paths = (await client(None).get("/schema/openapi.json")).json()["paths"]
    described = {(path, method.upper()) for path, methods in paths.items() for method in methods}
    assert {(c.template, c.method) for c in calls(stage)} == described
    for call in calls(stage):
        parameters = paths[call.template][call.method.lower()].get("parameters", [])
        assert {p["name"] for p in parameters if p["in"] == "query"} == set(call.query), call.template


async def test_every_field_refuses_what_breaks_its_rule(client: MakeClient, stage: Stage) -> None:
    before = await contents(stage)
    for call in writers(stage):
        caller = client(call.who)
        for name in call.body or {}:
            for value in (*wrong_types(name), *bad_texts(call, name)):
                case = (call.template, name, value[:60])
                answer = await caller.request(
                    call.method, call.path, content=with_field(call, name, value), headers=JSON
                )
                assert name in refused(answer, case)["fields"], case
            good = json.dumps((call.body or {})[name])
            twice = with_field(call, name, good)[:-1] + f', "{name}": {good}}}'.encode()
            answer = await caller.request(call.method, call.path, content=twice, headers=JSON)
            assert name in refused(answer, (call.template, name, "twice"))["fields"]
            if name not in OPTIONAL:
                short = {key: value for key, value in (call.body or {}).items() if key != name}
                answer = await caller.request(call.method, call.path, json=short)
                assert name in refused(answer, (call.template, name, "missing"))["fields"]
    assert await contents(stage) == before


BODIES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "validation_error"),
    "array": (b"[]", 400, "validation_error"),
    "text": (b'"text"', 400, "validation_error"),
    "number": (b"7", 400, "validation_error"),
    "null": (b"null", 400, "validation_error"),
    "no JSON": (b"{'a': 1}", 400, "validation_error"),
    "two values": (b"{} {}", 400, "validation_error"),
    "cut off": (b'{"content": "abc', 400, "validation_error"),
    "NaN": (b'{"seq": NaN}', 400, "validation_error"),
    "Infinity": (b'{"seq": -Infinity}', 400, "validation_error"),
    "10^5000": (b'{"seq": 1' + b"0" * 5000 + b"}", 400, "validation_error"),
    "raw NUL": (b'{"content": "a\x00b"}', 400, "validation_error"),
    "not UTF-8": (b'{"content": "\xff\xfe"}', 400, "validation_error"),
    "UTF-8 surrogate": (b'{"content": "\xed\xa0\x80"}', 400, "validation_error"),
    "UTF-16": ('{"content": "abc"}'.encode("utf-16"), 400, "validation_error"),
    "deep array": (b"[" * 60_000, 400, "validation_error"),
    "deep object": (b'{"a":' * 12_000, 400, "validation_error"),
    "deep, closed": (b'{"a":' * 9_000 + b"1" + b"}" * 9_000, 400, "validation_error"),
    "100k deep": (b"[" * 100_000, 413, "too_large"),
    "10 MB": (b'{"content": "' + b"a" * 10_000_000 + b'"}', 413, "too_large"),
    "name of a Python argument twice": (b'{"cls": 1, "cls": 2}', 400, "validation_error"),
    "names of Python arguments": (rb'{"cls": "\u0000", "self": "\u0000"}', 400, "validation_error"),
    "NUL in a name": (rb'{"a\u0000b": 1}', 400, "validation_error"),
    "surrogate in a name": (rb'{"\ud800": 1}', 400, "validation_error"),
}


async def test_every_body_that_is_no_object_of_ours_is_refused(client: MakeClient, stage: Stage) -> None:
    before = await contents(stage)
    for call in writers(stage):
        for name, (body, status, code) in BODIES.items():
            if name == "empty" and call.template.endswith("/cancel"):  # the one body that may be left out
                continue
            answer = await client(call.who).request(call.method, call.path, content=body, headers=JSON)
            refused(answer, (call.template, name), status, code)
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", "\xff"):
            answer = await client(call.who).request(
                call.method,
                call.path,
                content=json.dumps(call.body),
                headers=[(b"content-type", media_type.encode("latin-1"))],
            )
            refused(answer, (call.template, media_type), 415, "unsupported_media_type")
    assert await contents(stage) == before


QUERIES: dict[str, tuple[str, ...]] = {
    "limit": ("0", "101", "abc", "-1", str(2**63), "9" * 5000, "", "1.5", "%00", "null", "\u0663\u0663\u0663"),
    "cursor": ("x", "%00", "", "1.x", f"{10**17}.{uuid4()}", "' or 1=1 --", "%ED%A0%80"),
    "filter": ("x", "%00", "", "ALL"),
    "status": ("x", "%00", ""),
    "category": ("x", "%00", ""),
    "urgency": ("x", "%00", ""),
    "search": ("%00", "a" * 101),
    "mine": ("2", "maybe", "", "%00"),
    "before": ("abc", str(2**31), str(2**63), "-2", "", "%00"),
    "after": ("abc", str(2**31), str(-(2**63)), "-2", "", "%00"),
}


async def test_every_query_parameter_refuses_what_breaks_its_rule(client: MakeClient, stage: Stage) -> None:
    for call in calls(stage):
        for name in call.query:
            for value in (*QUERIES[name], f"1&{name}=2"):
                answer = await client(call.who).get(f"{call.path}?{name}={value}")
                assert name in refused(answer, (call.template, name, value[:40]))["fields"]
    answer = await client(stage.owner).get(
        f"/api/messaging/conversations/{stage.conversation}/messages?before=5&after=1"
    )
    refused(answer, "both")


async def test_ids_that_are_unknown_foreign_or_malformed_look_alike(client: MakeClient, stage: Stage) -> None:
    away = await stage.town.care.town()
    abroad = await staged(away, lambda person: client(person or stage.owner))
    before = await contents(stage)
    for call in calls(stage):
        if "{" in call.template:
            own, foreign = (str(stage.conversation), str(abroad.conversation))
            if "help_request_id" in call.template:
                own, foreign = (str(stage.request), str(abroad.request))
                own = own if own in call.path else str(stage.fresh)
            said = []
            for identity in (str(uuid4()), foreign):
                answer = await client(call.who).request(call.method, call.path.replace(own, identity), json=call.body)
                status, code = (404, "not_found")
                if "conversation_id" in call.template and call.method != "GET":
                    status, code = (403, "permission_denied")
                body = refused(answer, (call.template, identity), status, code)
                said.append({name: value for name, value in body.items() if name != "request_id"})
            assert said[0] == said[1]
            for identity in ("nonsense", "%00", f"{own}x", "%ED%A0%80", "1 or 1=1"):
                answer = await client(call.who).request(call.method, call.path.replace(own, identity), json=call.body)
                refused(answer, (call.template, identity), 404, "not_found")
    for verb in (*REASONLESS, "reject-offer"):
        for identity in (str(uuid4()), abroad.conversation):
            answer = await client(stage.owner).post(f"/api/messaging/{verb}", json={"conversation_id": identity})
            assert refused(answer, verb, 403, "permission_denied")["reason"] == "not_participant"
    assert await contents(stage) == before


async def test_paths_and_methods_that_there_are_none_of(client: MakeClient, stage: Stage) -> None:
    caller = client(stage.owner)
    for path in ("/api", "/api/", "/api/nope", "/api/requests/x/y/z", "/api/%00", "/rest/v1/rpc/nope"):
        refused(await caller.get(path), path, 404, "not_found")
    for call in calls(stage):
        for method in ("DELETE", "PATCH", "TRACE", "FOO"):
            answer = await caller.request(method, call.path)
            refused(answer, (method, call.path), 405, "method_not_allowed")
            assert call.method in answer.headers["allow"]
        options = await caller.request("OPTIONS", call.path)
        assert options.status_code == 204
        if call.method == "GET":
            head, got = await client(call.who).head(call.path), await client(call.who).get(call.path)
            assert (head.status_code, head.content) == (got.status_code, b"")
    page = await caller.post("/account")
    assert (page.status_code, "GET" in page.headers["allow"]) == (405, True)


async def test_a_key_of_a_bad_shape_is_refused(client: MakeClient, stage: Stage) -> None:
    before = await contents(stage)
    for call in calls(stage):
        if call.method != "GET" and call.keyed:
            for key in ("", "k" * 256, "a\x01b", "a\tb", "\x7f", "é", "a\x00b", " a", "a "):
                headers = [(b"Idempotency-Key", key.encode("latin-1"))]
                answer = await client(call.who).request(call.method, call.path, json=call.body, headers=headers)
                assert "idempotency-key" in refused(answer, (call.template, key))["fields"]
    assert await contents(stage) == before


async def test_a_key_sent_twice_is_refused(client: MakeClient, stage: Stage) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answer = await client(stage.helper).post(
        start(stage.fresh), json={"initial_message": "I can help."}, headers=headers
    )
    assert "idempotency-key" in refused(answer, "two keys")["fields"]


async def test_headers_from_anywhere_are_no_fault(client: MakeClient, stage: Stage) -> None:
    for name in (
        "host",
        "cookie",
        "authorization",
        "content-length",
        "origin",
        "x-csrf-token",
        "last-event-id",
        "accept",
    ):
        for value in (b"\xff\xfe", b"a" * 60_000, b"", b'";=\\', b"care_session=%ED%A0%80", b"\x00", b"-5"):
            for path in ("/api/auth/me", "/api/features", "/", "/account"):
                answer = await client(None).get(path, headers=[(name.encode(), value)])
                assert answer.status_code < 500, (name, value[:20], path)
            answer = await client(None).post(
                SIGN_IN, json={"email": "a", "password": "b"}, headers=[(name.encode(), value)]
            )
            assert answer.status_code < 500, (name, value[:20])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
NAMES = st.sampled_from([*TEXTS, "seq", "conversation_id", "cls", "self", "fields", "code"])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    body=st.dictionaries(NAMES | st.text(st.characters(), max_size=6), JSON_VALUES, max_size=6) | JSON_VALUES,
    data=st.data(),
)
async def test_no_body_is_a_fault(client: MakeClient, stage: Stage, body: Any, data: st.DataObject) -> None:  # noqa: ANN401
    call = data.draw(st.sampled_from([c for c in writers(stage) if not c.template.startswith("/api/auth")]))
    answer = await client(call.who).request(call.method, call.path, content=json.dumps(body), headers=JSON)
    assert answer.status_code < 500, answer.text
    assert answer.status_code not in {400} or refused(answer, body)
