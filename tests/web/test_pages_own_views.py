"""The inbox searched, archived and muted, and a block from the thread, as pages that need no script."""

from uuid import UUID

import msgspec
import pytest

from care_collective.web.services import Services
from harness import FIRST_WORDS, Person, Town
from web.pages import led, opened, refused, visitor
from web_harness import MakeClient, start


@pytest.fixture
def engine() -> str:
    """Pages know no engine."""
    return "v2"


class Talk(msgspec.Struct, frozen=True):
    """A conversation of two people."""

    owner: Person
    helper: Person
    path: str


@pytest.fixture
async def talk(town: Town, client: MakeClient) -> Talk:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    answer = await client(helper).post(start(await town.request(owner)), json={"initial_message": FIRST_WORDS})
    return Talk(owner, helper, f"/messages/{UUID(answer.json()['conversation_id'])}")


async def test_a_member_searches_and_every_emptiness_says_what_to_do(services: Services, talk: Talk) -> None:
    async with await visitor(services, talk.owner) as owner, await visitor(services, talk.helper) as helper:
        for words in ("hál", "groceries", "two streets"):
            page = await opened(owner, f"/messages?search={words}")
            assert FIRST_WORDS in page.said
            # One is led on with the words, and finds them in the field.
            assert page.form("/messages").fields["search"] == words
            links = [str(found["href"]) for tag, found in page.tags if tag == "a" and "filter=" in str(found["href"])]
            assert ["search=" in link for link in links] == [True, True]
        for path, said in {
            "/messages?search=nowhere": "Nothing found. Search looks at names",
            "/messages?search=two&filter=archived": "Nothing found.",
            "/messages?filter=archived": "Nothing is archived.",
            "/messages?cursor=1.00000000-0000-4000-8000-000000000000": "There is nothing further back.",
            f"/messages?search={'x' * 101}": "Please keep this to 100 characters; it has 101.",
            "/messages?search=%00": "This has a character that cannot be stored.",
            "/messages?filter=nonsense&search=+": FIRST_WORDS,
        }.items():
            assert said in (await opened(owner, path)).said, path
        hostile = "<script>\u202ealert(1)</script>"
        page = await opened(helper, f"/messages?search={hostile}&filter=unread")
        assert (page.form("/messages").fields["search"], page.form("/messages").fields["filter"]) == (hostile, "unread")
        assert page.loose == []


async def test_a_conversation_is_archived_and_muted_from_its_menu(services: Services, talk: Talk) -> None:
    async with await visitor(services, talk.owner) as owner, await visitor(services, talk.helper) as helper:
        page = await opened(owner, talk.path)
        form = page.form("/archive")
        for _ in range(2):  # a second tap is the first one
            assert await led(owner, form) == f"{talk.path}?done=archived"
        page = await opened(owner, f"{talk.path}?done=archived")
        assert "Archived. It comes back by itself when there is something new." in page.said
        assert "Everything is archived." in (await opened(owner, "/messages")).said
        assert "· Archived" in (await opened(owner, "/messages?filter=archived")).said
        assert await led(owner, page.form("/unarchive")) == f"{talk.path}?done=unarchived"
        await led(owner, (await opened(owner, talk.path)).form("/archive"))
        await led(helper, (await opened(helper, talk.path)).form(talk.path), content="Are you there?")
        page = await opened(owner, "/messages")
        assert "Are you there?" in page.said
        assert "· Archived" not in page.said

        form = (await opened(owner, talk.path)).form("/mute")
        again = await refused(owner, form, 400, **{"for": "ever"})
        assert "Choose for how long." in again.said
        for length, said in (("hours", "Muted until: "), ("week", "Muted until: "), ("always", "until you turn it on")):
            for _ in range(2):
                assert await led(owner, form, **{"for": length}) == f"{talk.path}?done=muted"
            page = await opened(owner, talk.path)
            assert said in page.said
            assert not page.offers("/mute")
        assert "· Muted" in (await opened(owner, "/messages")).said
        assert "· Muted" not in (await opened(helper, "/messages")).said
        await led(owner, page.form("/unmute"))
        assert (await opened(owner, talk.path)).offers("/mute")
        assert (await owner.get(f"{talk.path}/mute")).headers["location"] == talk.path


async def test_a_block_says_what_it_does_and_is_undone_in_the_settings(services: Services, talk: Talk) -> None:
    async with await visitor(services, talk.owner) as owner, await visitor(services, talk.helper) as helper:
        await led(owner, (await opened(owner, talk.path)).form("/accept"))
        page = await opened(owner, talk.path)
        assert "They are not told: it looks as if you had ended the conversation." in page.said
        form = page.form("/block")
        for _ in range(2):
            assert await led(owner, form) == f"{talk.path}?done=blocked"
        mine = await opened(owner, f"{talk.path}?done=blocked")
        assert "You have blocked this person. They are not told." in mine.said
        for page in (mine, await opened(owner, talk.path)):
            assert page.said.count("You have blocked this person") == 1
        assert not mine.offers("/block")
        assert not mine.offers("/reopen")
        theirs = await opened(helper, talk.path)
        assert "This conversation has ended. You can still read it." in theirs.said
        assert theirs.offers("/block")
        assert "blocked" not in theirs.said.replace("Block this person", "").lower()
        assert "You have blocked nobody." in (await opened(helper, "/settings/blocks")).said
        page = await opened(owner, "/settings/blocks")
        assert "Hal Blocked: just now Unblock" in page.said
        form = page.form("/unblock")
        assert (await owner.get(form.action)).headers["location"] == "/settings/blocks"
        stale = await refused(owner, form, 403, csrf_token="")
        assert "This page had been open for too long." in stale.said
        for _ in range(2):
            assert await led(owner, form) == "/settings/blocks?done=unblocked"
        assert "Not blocked any more." in (await opened(owner, "/settings/blocks?done=unblocked")).said
        assert await led(owner, (await opened(owner, talk.path)).form("/reopen")) == f"{talk.path}?done=reopened"


async def test_the_same_in_spanish(services: Services, talk: Talk) -> None:
    async with await visitor(services, talk.owner, **{"Accept-Language": "es"}) as owner:
        page = await opened(owner, talk.path)
        for said in ("Silenciar", "Archivar", "Bloquear a esta persona", "8 horas", "Buscar una conversación"):
            assert said in page.said
        assert "No has bloqueado a nadie." in (await opened(owner, "/settings/blocks")).said
        assert "No hay nada archivado." in (await opened(owner, "/messages?filter=archived")).said
        assert "No se ha encontrado nada." in (await opened(owner, "/messages?search=nada")).said
