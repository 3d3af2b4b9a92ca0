"""Queries, ids, paths, methods, keys and headers against bad input: the right code, nothing written, never a fault."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from harness import Town
from web.calls import REASONLESS, Stage, calls, contents, refused, staged
from web_harness import MakeClient, start

SIGN_IN = "/api/auth/sign-in"


@pytest.fixture
async def stage(town: Town, client: MakeClient) -> Stage:
    """An offer made in the engine under test."""
    return await staged(town, client)


QUERIES: dict[str, tuple[str, ...]] = {
    "limit": ("0", "101", "abc", "-1", str(2**63), "9" * 5000, "", "1.5", "%00", "null", "\u0663\u0663\u0663"),
    "cursor": ("x", "%00", "", "1.x", f"{10**17}.{uuid4()}", "' or 1=1 --", "%ED%A0%80"),
    "filter": ("x", "%00", "", "ALL"),
    "status": ("x", "%00", ""),
    "category": ("x", "%00", ""),
    "urgency": ("x", "%00", ""),
    "search": ("%00", "a" * 101),
    "waiting": ("2", "maybe", "", "%00"),
    "mine": ("2", "maybe", "", "%00"),
    "exact": ("2", "maybe", "", "%00"),
    "conversation": ("abc", "", "%00", "7"),
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


# What a parameter of an address names.
NAMED: dict[str, Callable[[Stage], object]] = {
    "conversation_id": lambda stage: stage.conversation,
    "help_request_id": lambda stage: stage.request,
    "notification_id": lambda stage: stage.notification,
    "user_id": lambda stage: stage.helper.user_id,
    "applicant_id": lambda stage: stage.applicant.user_id,
}


async def test_ids_that_are_unknown_foreign_or_malformed_look_alike(client: MakeClient, stage: Stage) -> None:
    away = await stage.town.care.town()
    abroad = await staged(away, lambda person: client(person or stage.owner))
    before = await contents(stage)
    for call in calls(stage):
        if "{" in call.template:
            named = NAMED[call.template.partition("{")[2].partition("}")[0]]
            own, foreign = str(named(stage)), str(named(abroad))
            own = own if own in call.path else str(stage.fresh)
            said = []
            for identity in (str(uuid4()), foreign):
                answer = await client(call.who).request(call.method, call.path.replace(own, identity), json=call.body)
                status, code = (404, "not_found")
                if "conversation_id" in call.template and call.method != "GET":
                    status, code = (403, "permission_denied")
                # Nobody is blocked there: nothing is left to end.
                ended = call.method == "DELETE" and answer.status_code == 200
                body = answer.json() if ended else refused(answer, (call.template, identity), status, code)
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
    for path in ("/api", "/api/", "/api/nope", "/api/requests/x/y/z", "/api/%00"):
        refused(await caller.get(path), path, 404, "not_found")
    for call in calls(stage):
        there = {one.method for one in calls(stage) if one.template == call.template}
        for method in {"DELETE", "PATCH", "TRACE", "FOO"} - there:
            answer = await caller.request(method, call.path)
            refused(answer, (method, call.path), 405, "method_not_allowed")
            assert call.method in answer.headers["allow"]
        options = await caller.request("OPTIONS", call.path)
        assert options.status_code == 204
        if call.method == "GET":
            head = await client(call.who).head(call.path)
            # A stream has no end that could be waited for.
            status = 200 if call.path.endswith("/stream") else (await client(call.who).get(call.path)).status_code
            assert (head.status_code, head.content) == (status, b"")
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
