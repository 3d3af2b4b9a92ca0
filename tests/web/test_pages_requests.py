"""Requests as pages: what each person sees, what a form does once, and what it keeps when it cannot."""

import asyncio
from uuid import uuid4

import pytest

from care_collective.web.services import Services
from harness import FIRST_WORDS, Person, Town
from web.pages import Sheet, is_foreign, led, opened, refused, sent, visitor
from web_harness import browser

# What people paste: code, a text that turns what follows it around, and no end.
HOSTILE = ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\u202e" + "drow desrever", "a\u200d" * 4)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """Pages know no engine: one is enough where the list and the thread are not what is tested."""
    return str(getattr(request, "param", "v2"))


async def conversations(town: Town) -> int:
    return await town.count("public.conversations") + await town.count("public.conversations_v2")


async def test_requests_are_browsed_by_kind_urgency_and_words(services: Services, town: Town) -> None:
    owner = await town.member("Olga")
    for title, category, urgency in (
        ("A ride on Monday", "transportation-errands", "normal"),
        ("Insulin before six", "health-caregiving", "critical"),
    ):
        await owner.call("create_help_request", title=title, category=category, urgency=urgency)
    await town.care.owner.execute(
        "update public.communities set emergency_line = '112' where id = $1", town.community_id
    )
    async with await visitor(services, await town.member("Hal")) as client:
        page = await opened(client, "/requests")
        for words in ("A ride on Monday", "Rides and errands", "No hurry", "Insulin before six", "Very urgent", "Olga"):
            assert words in page.said
        assert "If this is an emergency, call 112" in page.said.partition("Insulin")[2]
        for query, there in (
            ("?category=health-caregiving", "Insulin"), ("?urgency=normal", "A ride"), ("?search=RIDE", "A ride"),
        ):  # fmt: skip
            found = (await opened(client, f"/requests{query}")).said
            other = {"Insulin": "A ride on Monday", "A ride": "Insulin"}[there]
            assert there in found, query
            assert other not in found, query
        assert "Nothing fits" in (await opened(client, "/requests?search=ladder")).said
        assert "100 characters at most" in (await opened(client, "/requests?search=" + "a" * 101, 400)).said
        # A kind that there is not is no filter at all.
        assert "A ride on Monday" in (await opened(client, "/requests?category=nonsense")).said
    async with await visitor(services, await (await town.care.town()).member("Far")) as stranger:
        assert "Nobody needs anything just now" in (await opened(stranger, "/requests")).said


async def test_home_shows_first_what_is_very_urgent_then_what_is_near(services: Services, town: Town) -> None:
    async def neighbour(place: str | None) -> Person:
        person = await town.member()
        await town.care.owner.execute("update public.profiles set town = $2 where user_id = $1", person.user_id, place)
        return person

    asked = {
        "Insulin": ("critical", "Ash"), "A lift": ("normal", "Linden"),
        "A key": ("urgent", "Ash"), "A chat": ("normal", None),
    }  # fmt: skip
    for title, (urgency, place) in asked.items():
        owner = await neighbour(place)
        assert (await owner.call("create_help_request", title=title, category="other", urgency=urgency))["success"]
    for place, expected in (("Linden", ["Insulin", "A lift", "A key"]), (None, ["Insulin", "A key", "A chat"])):
        async with await visitor(services, await neighbour(place)) as client:
            said = (await opened(client, "/")).said
        assert sorted(filter(said.count, asked), key=said.index) == expected


@pytest.mark.parametrize("engine", ["v1", "v2"], indirect=True)
async def test_an_offer_leads_to_its_conversation_and_a_second_tap_to_the_same(services: Services, town: Town) -> None:
    request = await town.request(await town.member("Olga"))
    async with await visitor(services, await town.member("Hal")) as client:
        page = await opened(client, f"/requests/{request}")
        assert "10 to 1000 characters" in page.said
        form, second = page.form("/offer"), (await opened(client, f"/requests/{request}")).form("/offer")
        taps = await asyncio.gather(*(sent(client, form, initial_message=FIRST_WORDS) for _ in range(3)))
        places = {tap.headers["location"] for tap in taps}
        assert {tap.status_code for tap in taps} == {303}
        # Another form of the same page, open in a second window: the same words are the same offer.
        places.add(await led(client, second, initial_message=f" {FIRST_WORDS}\r\n"))
        assert len({place.partition("?")[0] for place in places}) == 1
        # Other words, with a key of their own or after Back with the used one, are kept, to be sent in the thread.
        more = "I could also come on Monday."
        for other in (second, form):
            page = Sheet((await sent(client, other, initial_message=more)).text)
            assert "These words have not been sent" in page.said
            there = next(place.partition("?")[0] for place in places)
            assert page.form(there).fields["content"] == more
        thread = await opened(client, await led(client, page.form(there)))
        assert FIRST_WORDS in thread.said
        assert more in thread.said
        assert await conversations(town) == 1
        assert "You have a conversation about this" in (await opened(client, f"/requests/{request}")).said


async def test_an_offer_that_is_too_short_keeps_what_was_typed(services: Services, town: Town) -> None:
    request = await town.request(await town.member("Olga"))
    async with await visitor(services, await town.member("Hal")) as client:
        form = (await opened(client, f"/requests/{request}")).form("/offer")
        for words in ("Hello", "", "\u200b" * 20, *(one + "a" * 10_000 for one in HOSTILE)):
            page = await refused(client, form, 400, initial_message=words)
            again = page.form("/offer")
            assert again.fields["initial_message"] == words
            assert again.fields["key"] == form.fields["key"]
            assert not [tag for tag, found in page.tags if is_foreign(tag, found) or "onerror" in found]
        assert await conversations(town) == 0
        assert (await led(client, again, initial_message=FIRST_WORDS)).startswith("/messages/")


async def test_an_offer_with_a_key_that_is_used_up_gets_a_new_one(services: Services, town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    one, other = await town.request(owner), await town.request(owner)
    async with await visitor(services, helper) as client:
        form = (await opened(client, f"/requests/{one}")).form("/offer")
        await led(client, form, initial_message=FIRST_WORDS)
        second = (await opened(client, f"/requests/{other}")).form("/offer")
        page = await refused(client, second, 422, initial_message=FIRST_WORDS, key=form.fields["key"])
        again = page.form("/offer")
        assert again.fields["initial_message"] == FIRST_WORDS
        assert again.fields["key"] not in {form.fields["key"], ""}
        await led(client, again)
        assert await conversations(town) == 2


async def test_who_may_not_browse_is_told_why_and_who_may_not_offer_sees_no_form(
    services: Services, town: Town
) -> None:
    request = await town.request(await town.member("Olga"))
    for name, status, restriction, words in (
        ("Pia", "pending", None, "A coordinator will look at your account"),
        ("Ron", "rejected", None, "Your account was not approved"),
        ("Ben", "approved", "banned", "Sent adverts"),
    ):
        person = await town.member(name, status=status)
        if restriction:
            await town.restrict(person, restriction)
        async with await visitor(services, person) as client:
            for path in ("/requests", f"/requests/{request}"):
                said = (await opened(client, path, 403)).said
                assert words in said, (name, path)
                assert "What to do next" not in said  # one note at a time
            if restriction is None:
                assert "No conversations yet" in (await opened(client, "/messages")).said
    for name, restriction in (("Sue", "suspended"), ("Lou", "limited")):
        person = await town.member(name)
        async with await visitor(services, person) as client:
            form = (await opened(client, f"/requests/{request}")).form("/offer")
            ask = (await opened(client, "/requests/new")).form("/requests")
            await town.restrict(person, restriction)
            for path in (f"/requests/{request}", "/requests/new"):
                page = await opened(client, path)
                assert "Sent adverts" in page.said
                assert not page.offers("/offer")
                assert not page.offers("/requests/new")
            page = await refused(client, form, 403, initial_message=FIRST_WORDS)
            assert "Your account is restricted" in page.said
            assert "Sent adverts" in page.said
            assert page.form("/offer").fields["initial_message"] == FIRST_WORDS
            typed = {"title": "Shopping", "category": "other"}
            assert (await refused(client, ask, 403, **typed)).form("/requests").fields["title"] == "Shopping"
    assert await conversations(town) == 0


async def test_what_is_not_there_and_what_is_foreign_look_alike(services: Services, town: Town) -> None:
    owner, helper, blocked = await town.member("Olga"), await town.member("Hal"), await town.member("Bea")
    request = await town.request(owner)
    elsewhere = await (await town.care.town()).member("Far")
    await town.block(owner, blocked)
    for person, path in ((helper, uuid4()), (blocked, request), (elsewhere, request)):
        async with await visitor(services, person) as client:
            page = await opened(client, f"/requests/{path}", 404)
            assert "We could not find this." in page.said
    async with await visitor(services, helper) as client:
        form = (await opened(client, f"/requests/{request}")).form("/offer")
        form.action = f"/requests/{uuid4()}/offer"
        assert "We could not find this." in (await refused(client, form, 404, initial_message=FIRST_WORDS)).said
        # A stranger's offers and verbs are not shown, and not obeyed.
        page = await opened(client, f"/requests/{request}")
        assert not page.offers("/cancel")
        form.action = f"/requests/{request}/cancel"
        await refused(client, form, 403)
        assert (await client.get(f"/requests/{request}/edit")).headers["location"] == f"/requests/{request}"


async def test_a_request_is_asked_changed_completed_and_opened_again(services: Services, town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    async with await visitor(services, owner) as client, await visitor(services, helper) as theirs:
        assert "You have not asked for anything yet" in (await opened(client, "/requests/mine")).said
        form = (await opened(client, "/requests/new")).form("/requests")
        page = await refused(client, form, 400, title="Help", description="It is\r\nlong.", urgency="urgent")
        assert "Please check 2 things" in page.said
        kept = page.form("/requests")
        assert (kept.fields["title"], kept.fields["description"]) == ("Help", "It is\nlong.")
        assert kept.fields["urgency"] == "urgent"
        typed = {"title": "Help with a form", "category": "other"}
        place = await led(client, kept, **typed)
        assert await led(client, kept, **typed) == place
        assert await town.count("public.help_requests") == 1
        path = place.partition("?")[0]
        page = await opened(client, place)
        for words in ("Your request is up", "It is long.", "Soon", "Nobody has offered yet"):
            assert words in page.said
        place = await led(client, (await opened(client, f"{path}/edit")).form("/edit"), title="Help with two forms")
        assert "Your changes are saved." in (await opened(client, place)).said

        for days, greeted in ((1, True), (8, False)):
            await town.care.owner.execute(
                "update public.profiles set decided_at = now() - make_interval(days => $2) where user_id = $1",
                helper.user_id,
                days,
            )
            home = await opened(theirs, "/")
            assert ("You are one of us" in home.said, "Help with two forms" in home.said) == (greeted, True)
        thread = await led(theirs, (await opened(theirs, path)).form("/offer"), initial_message=FIRST_WORDS)
        assert "Help with two forms" not in (await opened(theirs, "/")).said
        home = await opened(client, "/")
        for words in ("One conversation has something new", "Your open requests", "Help with two forms"):
            assert words in home.said
        mine = await opened(client, "/requests/mine")
        for words in ("Help with two forms", "One neighbour has written", "Hal", FIRST_WORDS, "1 new"):
            assert words in mine.said
        assert not (await opened(client, path)).offers("/complete")
        await led(client, (await opened(client, thread)).form("/accept"))
        page = await opened(client, path)
        assert "Helps you" in page.said
        assert "Done" in (await opened(client, await led(client, page.form("/complete")))).said
        async with await visitor(services, await town.member("Sam")) as neighbour:
            assert "This request takes no more offers" in (await opened(neighbour, path)).said
        page = await opened(client, path)
        assert not page.offers("/cancel")
        page = await opened(client, await led(client, page.form("/reopen")))
        place = await led(client, page.form("/cancel"), reason="Found <b>somebody</b>.")
        page = await opened(client, place)
        assert "Taken back" in page.said
        assert "Found <b>somebody</b>." in page.said
        form = page.form("/reopen")
        form.action = f"{path}/complete"
        assert "not possible in the present state" in (await refused(client, form, 409)).said
        assert (await client.get(f"{path}/complete")).headers["location"] == path


async def test_nobody_is_led_to_sign_in_and_back_to_what_they_looked_for(services: Services, town: Town) -> None:
    async with browser(services, town) as client:
        for path in ("/requests", "/requests/mine", "/requests/new", f"/requests/{uuid4()}", "/messages"):
            assert (await client.get(path)).headers["location"] == f"/sign-in?next={path}"
        where = (await client.get("/requests?search=a+b&urgency=urgent")).headers["location"]
        assert where == "/sign-in?next=/requests%3Fsearch%3Da%2Bb%26urgency%3Durgent"
