"""The link in a letter ends letters: by a button for people, by one click for mail programs, never by being opened."""

import pytest

from care_collective.notifications import unsubscribe
from care_collective.web.services import Services
from harness import Person, Town
from web.pages import Sheet, opened
from web_harness import browser


@pytest.fixture
def engine() -> str:
    """One engine is enough: conversations are not concerned."""
    return "v2"


async def preference(person: Person) -> str | None:
    """How a member wants e-mails, None where they never said."""
    value = await person.town.care.owner.fetchval(
        "select email from public.messaging_preferences where community_id = $1 and user_id = $2",
        person.town.community_id,
        person.user_id,
    )
    return None if value is None else str(value)


def link(services: Services, person: Person) -> str:
    return f"/unsubscribe?m={unsubscribe.sealed(services.secret_key, person.town.community_id, person.user_id)}"


async def test_the_page_ends_nothing_until_the_button_is_pressed(services: Services, town: Town) -> None:
    ann, bob = await town.member("Ann"), await town.member("Bob")
    async with browser(services, town) as client:
        page = await opened(client, link(services, ann))
        assert "Shall we stop writing to you" in page.said
        assert await preference(ann) is None
        answer = await client.post(page.form("").action)
        assert answer.status_code == 200
        assert "We will not write to you any more" in answer.text
        assert 'href="/settings"' in answer.text
    assert (await preference(ann), await preference(bob)) == ("off", None)


@pytest.mark.parametrize("form", ["application/x-www-form-urlencoded", "multipart/form-data"])
async def test_one_click_of_a_mail_program_ends_them(services: Services, town: Town, form: str) -> None:
    ann = await town.member("Ann")
    async with browser(services, town) as client:
        # As RFC 8058 has it: no cookie, no origin, no page before.
        if form.startswith("multipart"):
            answer = await client.post(link(services, ann), files={"List-Unsubscribe": (None, "One-Click")})
        else:
            answer = await client.post(link(services, ann), data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    assert await preference(ann) == "off"


async def test_a_link_that_is_none_of_ours_says_what_to_do(services: Services, town: Town) -> None:
    ann = await town.member("Ann")
    good = link(services, ann)
    other = unsubscribe.sealed("another key of the same length...", town.community_id, ann.user_id)
    gone = unsubscribe.sealed(services.secret_key, town.community_id, town.community_id)
    async with browser(services, town) as client:
        for path in ("/unsubscribe", good[:-3], f"/unsubscribe?m={other}", "/unsubscribe?m=%00%ff"):
            assert "This link does not work" in (await opened(client, path, 400)).said
            answer = await client.post(path)
            assert (answer.status_code, "Part of it may have been lost" in answer.text) == (400, True)
        assert (await client.post(f"/unsubscribe?m={gone}")).status_code == 400
        client.headers["accept-language"] = "es"
        assert "Este enlace no funciona" in Sheet((await client.get("/unsubscribe")).text).said
    assert await preference(ann) is None
