"""The page of notifications and the bell: who did what, in words, where it leads, and marking as read."""

import re
from typing import get_args
from uuid import UUID

import pytest

from care_collective.notifications.told import Kind
from care_collective.web.services import Services
from harness import Person, Town
from web.pages import Sheet, led, opened, refused, visitor

AT = "/notifications"
TURNED = "Hal \u202e<script>alert(1)</script>"


@pytest.fixture
def engine() -> str:
    """Pages know no engine."""
    return "v2"


async def offer(town: Town, owner: Person, helper: Person) -> str:
    """An offer on a new request; the conversation's id."""
    return str((await helper.offer_v2(await town.request(owner, title=f"Bread {TURNED}")))["conversation_id"])


def links(page: Sheet) -> list[str]:
    """Where the notifications of a page lead."""
    return [found["href"] or "" for tag, found in page.tags if tag == "a" and found.get("class") == "told-link"]


async def test_one_reads_what_others_did_and_the_thread_marks_what_it_shows(services: Services, town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member(TURNED)
    first, second = await offer(town, owner, helper), await offer(town, owner, await town.member("Sam"))
    for words in ("I can come at ten.", "Or at noon."):
        await helper.send(first, words)
    async with await visitor(services, owner) as client:
        page = await opened(client, AT)
        assert "Notifications 3 new" in page.said
        assert f"{TURNED} wrote 2 messages to you." in page.said
        assert "Sam offers to help you." in page.said
        assert "Bread" in page.said
        assert "just now, " in page.said
        assert page.loose == []
        assert not any(tag == "script" and "src" not in found for tag, found in page.tags)
        assert links(page) == [f"/messages/{one}#latest" for one in (first, second, first)]

        # To look at the list reads nothing, to open the thread reads what is told of it.
        await opened(client, f"/messages/{first}")
        page = await opened(client, f"{AT}?filter=unread")
        assert links(page) == [f"/messages/{second}#latest"]
        assert "Notifications 1 new" in page.said
        assert await led(client, page.form("/read")) == f"{AT}?filter=unread"
        page = await opened(client, f"{AT}?filter=unread")
        assert "You have read everything." in page.said
        assert not page.offers("/read-all")
        assert len(links(await opened(client, AT))) == 3

        # An answer changes no message: the thread marks it all the same.
        await helper.call("close_conversation", conversation_id=UUID(first))
        assert "Notifications 1 new" in (await opened(client, "/requests")).said
        assert "Notifications 1 new" not in (await opened(client, f"/messages/{first}")).said


async def test_all_is_marked_by_one_button_and_a_stale_form_marks_nothing(services: Services, town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    await offer(town, owner, helper)
    async with await visitor(services, owner) as client:
        page = await opened(client, AT)
        await refused(client, page.form("/read-all"), 403, csrf_token="x" * 64)
        assert await town.count("public.notifications", "read_at is null") == 1
        for _ in range(2):  # a double tap
            assert await led(client, page.form("/read-all")) == f"{AT}?done=all-read"
        assert "All marked as read." in (await opened(client, f"{AT}?done=all-read")).said
        own = page.form("/read")
    async with await visitor(services, helper) as client:
        page = await opened(client, AT)
        assert "Nothing yet" in page.said
        token = page.forms[-1].fields["csrf_token"]
        answer = await client.post(own.action, data={**own.fields, "csrf_token": token})
        assert answer.status_code == 403
        answer = await client.post(own.action, data={**own.fields, "csrf_token": token, "key": "1"})
        assert answer.status_code == 404
        assert (await client.get(own.action)).headers["location"] == AT
        assert (await client.get(f"{AT}?cursor=x")).status_code == 400


async def test_every_kind_has_its_words_and_a_way_in_both_languages(services: Services, town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    conversation = UUID(await offer(town, owner, helper))
    kinds = get_args(Kind)
    known = await town.care.owner.fetchval(
        "select pg_get_constraintdef(oid) from pg_constraint where conname = 'notifications_kind_check'"
    )
    assert set(re.findall(r"'([^']+)'", known)) == set(kinds)
    await town.care.owner.execute("delete from public.notifications where community_id = $1", town.community_id)
    await town.care.owner.execute(
        "insert into public.notifications (community_id, user_id, kind, actor_id, help_request_id, conversation_id) "
        "select $1, $2, k, $3, c.help_request_id, case when k like 'membership.%' then null else c.id end "
        "from unnest($4::text[]) k, public.conversations_v2 c where c.id = $5",
        town.community_id, owner.user_id, helper.user_id, kinds, conversation,
    )  # fmt: skip
    await town.care.owner.execute(
        "update public.profiles set deleted_at = now(), display_name = 'Gone' where user_id = $1", helper.user_id
    )
    async with await visitor(services, owner) as client:
        page = await opened(client, AT)
        assert len(links(page)) == len(kinds)
        elsewhere = {one for one in links(page) if not one.startswith("/messages/")}
        assert elsewhere == {"/coordinator/approvals", "/account"}
        assert "Former member offers to help you." in page.said
        assert "Gone" not in page.said
    async with await visitor(services, owner, **{"Accept-Language": "es"}) as client:
        page = await opened(client, AT)
        assert "te ofrece su ayuda" in page.said
        assert f"Avisos {len(kinds)} " in page.said


async def test_a_banned_member_is_shown_none_and_a_suspended_one_may_read(services: Services, town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    await offer(town, owner, helper)
    async with await visitor(services, owner) as client:
        await town.restrict(owner, "suspended")
        page = await opened(client, AT)
        assert "Hal offers to help you." in page.said
        await led(client, page.form("/read-all"))
        await town.restrict(owner, "banned")
        assert (await client.get(AT)).status_code == 403
        assert AT not in (await client.get("/account")).text
