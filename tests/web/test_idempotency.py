"""Idempotency keys over HTTP: a retry is answered, not repeated, whatever became of the first answer."""

import asyncio
from uuid import UUID, uuid4

import httpx
import pytest

from care_collective.web.services import Services
from harness import FIRST_WORDS, Care, Person, Town
from web.calls import Stage, staged
from web_harness import MakeClient, bearer, browser, of, raw, services_for, serving, start

OFFER = {"initial_message": FIRST_WORDS}
ASK = {"title": "Company for tea", "category": "other"}
REPLAYED = "idempotency-replayed"


@pytest.fixture
async def stage(town: Town, client: MakeClient) -> Stage:
    """An offer made in the engine under test."""
    return await staged(town, client)


def key(value: str | None = None) -> dict[str, str]:
    """The header of a key, a new one unless it is named."""
    return {"Idempotency-Key": value or uuid4().hex}


def body_of(answer: httpx.Response) -> dict[str, object]:
    """An answer's body without its reference."""
    found: dict[str, object] = answer.json()
    found.pop("request_id", None)
    return found


async def test_the_same_key_is_answered_as_before_and_says_so(client: MakeClient, stage: Stage, engine: str) -> None:
    for person, path, content, table in (
        (stage.helper, start(stage.fresh), OFFER, "care.threads"),
        (stage.owner, of(stage.conversation), {"content": "Thank you!"}, "care.thread_messages"),
        (stage.owner, "/api/requests", ASK, "public.help_requests"),
    ):
        before, headers = await stage.town.count(table), key()
        first = await client(person).post(path, json=content, headers=headers)
        again = await client(person).post(path, json=content, headers=headers)
        assert (first.status_code, again.status_code) == (201, 201), path
        assert body_of(again) == body_of(first)
        assert (first.headers.get(REPLAYED), again.headers.get(REPLAYED)) == (None, "true")
        assert await stage.town.count(table) == before + 1
        if path == start(stage.fresh):
            assert again.json()["version"] == engine


async def test_every_write_replays_under_its_key(client: MakeClient, stage: Stage) -> None:
    decision = {"conversation_id": stage.conversation}
    for person, path, content in (
        (stage.owner, "/api/messaging/accept-offer", decision),
        (stage.helper, "/api/messaging/step-back", decision),
        (stage.owner, "/api/messaging/accept-offer", decision),
        (stage.owner, "/api/messaging/release-helper", decision),
        (stage.helper, of(stage.conversation, "mute"), {"until": "2100-01-01T00:00:00+02:00"}),
        (stage.helper, of(stage.conversation, "archive"), {"archived": True}),
        (stage.owner, of(stage.conversation, "read"), {"seq": 0}),
        (stage.owner, of(stage.conversation, "close"), None),
        (stage.owner, of(stage.conversation, "reopen"), None),
        (stage.owner, "/api/messaging/reject-offer", {**decision, "reason": "Thank you."}),
        (stage.owner, f"/api/requests/{stage.request}/cancel", {"reason": "Done."}),
        (stage.owner, f"/api/requests/{stage.request}/reopen", None),
        (stage.helper, f"/api/blocks/{stage.owner.user_id}", None),
    ):
        headers = key()
        first = await client(person).post(path, json=content, headers=headers)
        again = await client(person).post(path, json=content, headers=headers)
        assert (first.status_code, first.headers.get(REPLAYED)) == (200, None), (path, first.text)
        assert (again.status_code, again.headers.get(REPLAYED)) == (200, "true"), path
        assert body_of(again) == body_of(first)


async def test_another_content_under_the_same_key_is_a_mismatch(client: MakeClient, stage: Stage) -> None:
    headers = key()
    assert (await client(stage.helper).post(start(stage.fresh), json=OFFER, headers=headers)).status_code == 201
    other = await stage.town.request(stage.owner)
    for path, content in (
        (start(stage.fresh), {"initial_message": FIRST_WORDS + " Or Saturday."}),
        (start(other), OFFER),
        (of(stage.conversation), {"content": FIRST_WORDS}),
        ("/api/requests", ASK),
    ):
        answer = await client(stage.helper).post(path, json=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch"), path
        assert REPLAYED not in answer.headers
    assert await stage.town.count("care.threads") == 2


async def test_a_refusal_is_judged_afresh_under_its_key(client: MakeClient, stage: Stage) -> None:
    headers = key()
    late = await stage.town.member("Lea", status="pending")
    assert (await client(late).post(start(stage.fresh), json=OFFER, headers=headers)).status_code == 403
    await stage.town.care.owner.execute(
        "update public.profiles set verification_status = 'approved' where user_id = $1", late.user_id
    )
    answer = await client(late).post(start(stage.fresh), json=OFFER, headers=headers)
    assert (answer.status_code, answer.headers.get(REPLAYED)) == (201, None)


async def test_two_members_may_use_the_same_key(client: MakeClient, stage: Stage) -> None:
    headers = key("the same")
    answers = [
        await client(person).post(start(stage.fresh), json=OFFER, headers=headers)
        for person in (stage.helper, stage.stranger)
    ]
    assert [(a.status_code, a.headers.get(REPLAYED)) for a in answers] == [(201, None)] * 2
    assert answers[0].json()["conversation_id"] != answers[1].json()["conversation_id"]


async def test_a_replay_names_the_engine_that_opened_whatever_the_flag_says_now(shared: Care, town: Town) -> None:
    helper, owner = await town.member("Hal"), await town.member("Olga")
    nodes = [services_for(shared, messaging_v2_rollout=stage) for stage in ("off", "on")]
    for first, then, version in ((nodes[0], nodes[1], "v1"), (nodes[1], nodes[0], "v2")):
        request, headers = await town.request(owner), {**key(), **bearer(helper)}
        async with browser(first, town) as one, browser(then, town) as other:
            opened = await one.post(start(request), json=OFFER, headers=headers)
            again = await other.post(start(request), json=OFFER, headers=headers)
        assert (opened.json()["version"], again.json()["version"]) == (version, version)
        assert body_of(again) == body_of(opened)
        assert again.headers[REPLAYED] == "true"
    for node in nodes:
        await node.close()


async def cut(port: int, person: Person, path: str, content: str, headers: dict[str, str], *, at: int) -> None:
    """Sends a whole request and hangs up: at once, or after so many bytes of the answer."""
    named = {"Host": person.town.host, "Content-Type": "application/json", "Content-Length": str(len(content))}
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw("POST", path, {**named, **bearer(person), **headers}, content.encode()))
    await writer.drain()
    await reader.read(at)
    writer.close()


async def written(town: Town, table: str, before: int) -> None:
    """Waits until a table of the town has one row more: nobody else hears of the write."""
    async with asyncio.timeout(30):
        while await town.count(table) == before:
            pass


@pytest.mark.parametrize("at", [0, 20])
async def test_a_retry_after_a_cut_answer_finds_what_the_first_call_wrote(
    services: Services, stage: Stage, at: int
) -> None:
    town = stage.town
    offer, message = f'{{"initial_message": "{FIRST_WORDS}"}}', '{"content": "Thank you!"}'
    for person, path, content, table, name in (
        (stage.helper, start(stage.fresh), offer, "care.threads", "conversation_id"),
        (stage.owner, of(stage.conversation), message, "care.thread_messages", "message_id"),
    ):
        before, headers = await town.count(table), key()
        async with serving(services) as port:
            await cut(port, person, path, content, headers, at=at)
            await written(town, table, before)
        retry = {**headers, **bearer(person), "Content-Type": "application/json"}
        async with browser(services, town) as program:
            answers = [await program.post(path, content=content, headers=retry) for _ in range(2)]
        assert [(a.status_code, a.headers.get(REPLAYED)) for a in answers] == [(201, "true")] * 2
        identity = answers[0].json()[name]
        assert answers[1].json()[name] == identity
        assert await town.count(table, f"id = '{UUID(identity)}'") == 1
        assert await town.count(table) == before + 1


async def test_a_retry_without_a_key_after_a_cut_answer_leads_to_the_conversation(
    services: Services, stage: Stage
) -> None:
    async with serving(services) as port:
        await cut(port, stage.helper, start(stage.fresh), f'{{"initial_message": "{FIRST_WORDS}"}}', {}, at=0)
        await written(stage.town, "care.threads", 1)
    async with browser(services, stage.town) as program:
        answer = await program.post(start(stage.fresh), json=OFFER, headers=bearer(stage.helper))
    assert (answer.status_code, answer.json()["code"]) == (409, "conversation_exists")
    assert await stage.town.count("care.threads", f"id = '{UUID(answer.json()['conversation_id'])}'") == 1
