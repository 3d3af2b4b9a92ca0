"""The client's types against the description of the API, and against what the server really answers."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from care_collective.client import CareClient, models
from care_collective.client.problem import Problem
from client.conftest import Connect
from harness import FIRST_WORDS, Town
from web_harness import PASSWORD, fresh_email

TYPES: dict[str, Any] = {
    name: value
    for name, value in vars(models).items()
    if isinstance(value, type) and issubclass(value, msgspec.Struct) and name != "Written"
} | {"Error": Problem}
FAR = datetime(2100, 1, 1, tzinfo=UTC)
OPERATORS = "/api/ops/"  # theirs is the command line: the client is for members' programs
# Refusals are exceptions, results are marked, errors know HTTP's status: members of one side alone.
APART = {"success", "replayed", "http_status"}


def plain(schema: dict[str, Any]) -> Any:  # noqa: ANN401
    """What a member is, without the words that a value may be: those may become more."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "string" if name == "Code" else name
    for either in ("oneOf", "anyOf"):
        if either in schema:
            return frozenset(str(plain(one)) for one in schema[either])
    if schema.get("type") == "array":
        return ("array", plain(schema["items"]))
    if schema.get("type") == "object":
        return "object"
    if isinstance(schema.get("type"), list):
        return frozenset(schema["type"])
    kind = schema.get("type") or ("null" if schema.get("enum") == [None] else "string")
    return schema.get("format") or kind


def members(schema: dict[str, Any]) -> dict[str, tuple[Any, bool]]:
    """Each member with what it is and whether it is always there."""
    required = schema.get("required", [])
    return {name: (plain(one), name in required) for name, one in schema["properties"].items() if name not in APART}


@pytest.fixture
async def document(port: int) -> dict[str, Any]:
    """The description as it is served."""
    async with httpx.AsyncClient() as http:
        found: dict[str, Any] = (await http.get(f"http://127.0.0.1:{port}/schema/openapi.json")).json()
    return found


async def test_every_answer_of_the_description_has_its_type_member_by_member(document: dict[str, Any]) -> None:
    described = document["components"]["schemas"]
    answered = {
        one["$ref"].rpartition("/")[2]
        for path, methods in document["paths"].items()
        if path.startswith("/api/") and not path.startswith(OPERATORS)
        for operation in methods.values()
        for answer in operation["responses"].values()
        for content in answer["content"].values()
        for one in content["schema"].get("oneOf", [content["schema"]])
    }
    assert answered <= set(TYPES), "answers that the client has no type for: add them to client/models"
    _, own = msgspec.json.schema_components(TYPES.values())
    for name in TYPES:
        mine, theirs = members(own["Problem" if name == "Error" else name]), members(described[name])
        if name == "Error":  # whoever stands in front of the server answers with less
            theirs |= dict.fromkeys(("code", "request_id"), (frozenset({"string", "null"}), False))
        assert mine == theirs, f"{name} is not as described: mend client/models"


class Heard(msgspec.Struct):
    """What passed on the wire."""

    paths: list[tuple[str, str]]
    bodies: list[dict[str, Any]]

    async def hear(self, answer: httpx.Response) -> None:
        """Keeps an answer, as httpx's hook."""
        self.paths.append((answer.request.method.lower(), answer.request.url.path))
        if answer.headers["content-type"].startswith("text/event-stream"):
            return  # it has no end
        await answer.aread()
        self.bodies.append(answer.json())


def comparable(value: Any) -> Any:  # noqa: ANN401
    """JSON without what is absent or null, and with times as times."""
    if isinstance(value, dict):
        return {n: comparable(v) for n, v in value.items() if v is not None and n not in APART}
    if isinstance(value, list):
        return [comparable(one) for one in value]
    if isinstance(value, str) and len(value) > 18 and value[4:5] == "-" and value[10:11] == "T":
        return datetime.fromisoformat(value)
    return value


async def test_every_path_has_a_method_whose_result_is_the_whole_answer(
    port: int, connect: Connect, town: Town, document: dict[str, Any], engine: str
) -> None:
    heard = Heard([], [])
    owner, helper = await town.member("Olga"), await town.member("Hal")
    asking, helping, nobody = connect(port, owner), connect(port, helper), connect(port)
    for client in (asking, helping, nobody):
        client._http.event_hooks["response"].append(heard.hear)

    async def whole(call: Awaitable[Any]) -> Any:  # noqa: ANN401
        result = await call
        said = heard.bodies[-1]
        (only, *others) = set(said) - {"success"} or {""}
        if only and not others and not hasattr(result, only):  # a read whose answer holds one thing gives that
            said = said[only]
        assert comparable(msgspec.to_builtins(result)) == comparable(said)
        return result

    asked = await whole(asking.requests.create("Help with a form", "other", description="Long.", exchange_offer="Soup"))
    request = asked.help_request_id
    await whole(asking.requests.update(request, "Help with two forms", "other", urgency="urgent"))
    opened = await whole(helping.messaging.start_conversation(request, FIRST_WORDS))
    conversation = opened.conversation_id
    assert (opened.version, opened.help_request_id) == (engine, request)
    sent = await whole(asking.messaging.send_message(conversation, "Thank you!"))
    assert sent.seq == 1
    assert (await whole(helping.messaging.mark_read(conversation, 1))).unread == 0
    page = await whole(helping.messaging.get_messages(conversation))
    assert [m.seq for m in page.messages] == [0, 1]
    assert page.messages[0].created_at.tzinfo is not None
    live = helping.messaging.live(conversation, after=-1)
    seen = [await anext(live) for _ in range(3)]
    await live.aclose()
    row = await whole(helping.messaging.list_conversations())
    assert seen[:2] == page.messages
    assert seen[2] == models.LiveState(
        unread=models.Unread(conversations=0, messages=0, notifications=0), conversations=row.conversations
    )
    await whole(asking.messaging.list_offers(request))
    await whole(helping.messaging.list_conversations())
    listed = await whole(helping.requests.list())
    assert listed.help_requests[0].conversation.id == conversation
    assert (await whole(helping.requests.get(request))).title == "Help with two forms"
    for client, verb, status in (
        (asking, "accept_offer", "in_progress"),
        (helping, "step_back", "open"),
        (asking, "accept_offer", "in_progress"),
        (asking, "release_helper", "open"),
    ):
        moved = await whole(getattr(client.messaging, verb)(conversation))
        assert moved.help_request_status == status
    told = await whole(helping.notifications.list(unread_only=True))
    assert [one.kind for one in told.notifications] == ["helper.released", "offer.accepted"]
    assert [one.kind async for one in helping.notifications.each(limit=2)][-1] == "message.received"
    assert await helping.notifications.count_unread() == 2
    assert (await whole(helping.notifications.mark_read(told.notifications[0].id))).unread == 1
    assert (await whole(helping.notifications.mark_all_read())).unread == 0
    await whole(helping.problems.report("It took long.", conversation_id=conversation, code="unavailable"))
    choices = {"quiet_from": "22:00", "quiet_to": "07:00", "locale": "es", "time_zone": "Europe/Lisbon"}
    await whole(helping.preferences.set(email="daily", offers_paused=False, **choices))
    assert (await whole(helping.preferences.get())).time_zone == "Europe/Lisbon"
    await whole(helping.preferences.set_profile("Hal Moss", town="Linden"))
    assert (await whole(helping.preferences.profile())).display_name == "Hal Moss"
    browser = {"p256dh": f"B{'A' * 86}", "auth": "A" * 22}
    await whole(helping.push.add("https://push.example/one", **browser))
    assert [one.last_ok_at for one in (await whole(helping.push.list())).subscriptions] == [None]
    await whole(helping.push.remove("https://push.example/one"))
    assert (await whole(helping.messaging.close(conversation))).status == "closed"
    assert (await whole(helping.messaging.reopen(conversation))).status == "active"
    assert (await whole(helping.messaging.mute(conversation, FAR))).muted_until == FAR
    assert (await whole(helping.messaging.archive(conversation))).archived
    (found,) = (await whole(helping.messaging.list_conversations(archived=True, search="FORMS"))).conversations
    assert (found.muted_until, found.archived) == (FAR, True)
    await whole(helping.messaging.mute(conversation, None))
    await whole(asking.messaging.accept_offer(conversation))
    await whole(asking.requests.complete(request))
    await whole(asking.requests.reopen(request))
    assert (await whole(asking.messaging.reject_offer(conversation, "My son comes."))).status == "declined"
    await whole(asking.requests.cancel(request, "Done."))
    await whole(asking.messaging.block(helper.user_id))
    assert [one.user.display_name for one in (await whole(asking.messaging.list_blocks())).blocks] == ["Hal Moss"]
    await whole(asking.messaging.unblock(helper.user_id))
    await whole(helping.accounts.me())
    await whole(helping.health.features())
    for ask in (nobody.health.report, nobody.health.live, nobody.health.ready):
        assert (await whole(ask())).status == "ok"
    email = fresh_email()
    me = await whole(nobody.accounts.sign_up(email, PASSWORD, "Nia", town="Linden", application_words="Olga told me."))
    await town.coordinate(owner)
    waiting = await whole(asking.applications.list())
    assert (
        await whole(asking.applications.reject(waiting.applications[0].user_id, reason="Who?"))
    ).status == "rejected"
    assert (await whole(asking.applications.approve(me.user_id))).status == "approved"
    await whole(nobody.accounts.sign_in(email, PASSWORD))
    await whole(nobody.accounts.sign_out())
    exported = await whole(helping.accounts.export())
    assert [m.seq for m in exported.messages] == [0, 1]
    await whole(helping.accounts.delete())

    offered = {
        (method, path)
        for path, methods in document["paths"].items()
        for method in methods
        if path.startswith("/api/") and not path.startswith(OPERATORS)
    }
    unused = {
        (method, path)
        for method, path in offered
        if not any(
            method == used and re.fullmatch(re.sub(r"{\w+}", "[0-9a-f-]{36}", path), at) for used, at in heard.paths
        )
    }
    assert unused == set(), "paths that the client has no method for, or this test no call"


async def test_each_goes_through_all_pages(port: int, connect: Connect, town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    asking, helping = connect(port, owner), connect(port, helper)
    asked = [(await asking.requests.create(f"Request {n}", "other")).help_request_id for n in range(5)]
    assert [r.id async for r in helping.requests.each(limit=2)] == asked[::-1]
    assert [r.id async for r in helping.requests.each(limit=5, search="Request 3")] == [asked[3]]
    assert [r.id async for r in helping.requests.each(mine=True)] == []
    opened = [(await helping.messaging.start_conversation(r, FIRST_WORDS)).conversation_id for r in asked]

    async def ids(each: Callable[..., Any], *given: object, **options: object) -> list[object]:
        return [one.id async for one in each(*given, **options)]

    assert await ids(helping.messaging.each_conversation, limit=2) == opened[::-1]
    assert await ids(helping.messaging.each_conversation, limit=2, unread_only=True) == []
    assert await ids(asking.messaging.each_conversation, limit=2, unread_only=True) == opened[::-1]
    assert await ids(asking.messaging.each_offer, asked[0], limit=1) == [opened[0]]
    for number in range(1, 6):
        await helping.messaging.send_message(opened[0], f"Line {number}")

    async def seqs(client: CareClient, **options: int) -> list[int]:
        return [m.seq async for m in client.messaging.each_message(opened[0], **options)]

    assert await seqs(asking, limit=2) == [0, 1, 2, 3, 4, 5]
    assert await seqs(asking, limit=3) == [0, 1, 2, 3, 4, 5]
    assert await seqs(asking, after=3) == [4, 5]
    assert await seqs(asking, after=5) == []
