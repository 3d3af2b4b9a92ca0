"""The whole walk, from joining to a kind word for whoever offered in vain: as four people, each in an own window."""

from dataclasses import dataclass
from uuid import UUID

import pytest
from playwright.async_api import Page, expect

from browser.conftest import Site, Visitor
from browser.looks import ZOOMED, laid_out
from browser.test_talking import window
from care_collective.web.pages.language import LANGUAGES
from web_harness import PASSWORD, fresh_email


@dataclass(frozen=True, slots=True)
class Walker:
    """Somebody on their walk: a window at 200 % zoom, and the language in which its pages are read."""

    page: Page
    code: str

    def say(self, sentence: str) -> str:
        """A sentence of ours as this person reads it."""
        return LANGUAGES[self.code].say(sentence)

    async def at(self, path: str, heading: str) -> None:
        """Opens a page, which has to be this one and fit its window."""
        await self.page.goto(path)
        await self.reads(heading)

    async def reads(self, words: str) -> None:
        """These words stand in a page that fits its window."""
        await expect(self.page.locator("main")).to_contain_text(self.say(words))
        await expect(self.page.locator("html")).to_have_attribute("lang", self.code)
        await laid_out(self.page)

    async def types(self, label: str, words: str) -> None:
        """Fills in a field."""
        await self.page.get_by_label(self.say(label)).fill(words)

    async def pushes(self, name: str, *, twice: bool = False) -> None:
        """Pushes a button or follows a link of the page."""
        found = self.page.locator("main").locator("button, a, summary").filter(has_text=self.say(name)).first
        await (found.dblclick() if twice else found.click())


async def join(nia: Walker, email: str) -> None:
    """Joins from the front door, and reads what to wait for."""
    await nia.at("/", "Neighbours helping neighbours")
    await nia.pushes("Join your neighbours")
    await nia.reads("A few words about you for the coordinator")
    for label, words in (
        ("Your name", "Nia"),
        ("E-mail", email),
        ("Password", PASSWORD),
        ("A few words about you for the coordinator", f"Olga knows me: {email}"),
    ):
        await nia.types(label, words)
    await nia.page.locator("form.sheet button").click()
    await nia.reads("A coordinator will look at your account")


async def approve(cora: Walker, email: str) -> None:
    """Finds who waits by what they wrote, and approves them."""
    await cora.at("/coordinator/approvals", "Approvals")
    card = cora.page.locator("article", has_text=email)
    await card.get_by_role("button", name=cora.say("Approve"), exact=True).click()
    await cora.reads("Approved. They are told, and can ask and offer from now on.")


async def ask(nia: Walker, title: str) -> str:
    """Is told of the approval, and asks; where the request is."""
    await nia.page.reload()
    await nia.reads("You are one of us")
    await nia.at("/notifications", "Your account was approved. Welcome!")
    await nia.at("/requests", "Ask for help")
    await nia.pushes("Ask for help")
    await nia.reads("What do you need?")
    await nia.types("What do you need?", title)
    await nia.page.get_by_label(nia.say("Kind of help")).select_option(label=nia.say("Health and care"))
    await nia.types("A few more words", "Ours is being mended.\nTen days at most.")
    await nia.pushes("Ask my neighbours")
    await nia.reads(
        "Your request is up. Your neighbours can see it now; their offers come to you here and under Messages."
    )
    return nia.page.url.partition("?")[0]


async def offer(sam: Walker, title: str) -> None:
    """Finds the request by its words, and offers with a double tap."""
    await sam.at("/requests", "Search for words")
    await sam.types("Search for words", title.upper())
    await sam.pushes("Show")
    await sam.pushes(title)
    await sam.reads(
        "10 to 1000 characters. Say what you can do and when. It opens a conversation between the two of you."
    )
    await sam.types("Your first message", "There is a pair in my cellar.\nTonight?")
    await sam.pushes("Send my offer", twice=True)
    await sam.reads("Your offer is sent. Next, your neighbour reads it and answers here; you can both write now.")
    await expect(sam.page.locator("#latest")).to_have_text("There is a pair in my cellar.\nTonight?")
    await sam.page.reload()


async def answer(nia: Walker, title: str) -> None:
    """Finds the offer among the own requests, answers in two lines, and accepts."""
    await nia.at("/requests/mine", title)
    await nia.page.locator("main").get_by_role("link", name="Sam").click()
    await nia.page.get_by_label(nia.say("Your message"), exact=True).click()
    await nia.page.keyboard.type("Tonight would be wonderful.")
    await nia.page.keyboard.press("Enter")
    await nia.page.keyboard.type("Second door on the left.")
    await nia.pushes("Send")
    await expect(nia.page.locator("#latest")).to_contain_text("Second door on the left.")
    await expect(nia.page.get_by_label(nia.say("Your message"), exact=True)).to_have_value("")
    await nia.pushes("Accept this offer")
    await nia.reads("You have accepted this offer. Agree here on when and where.")


async def read(sam: Walker, nia: Walker, live: bool) -> None:
    """The other one has it before them: at once in an open page, else at the next look."""
    if live:
        await expect(sam.page.locator("#latest")).to_contain_text("Second door on the left.")
        await expect(sam.page.locator("#standing")).to_contain_text(sam.say("You are helping"))
        await expect(nia.page.locator("#mark")).to_contain_text(nia.say("Read"))
    await sam.page.goto("/messages")
    assert await sam.page.locator("#threads .badge").count() == (0 if live else 1)
    await laid_out(sam.page)
    await sam.page.locator("#threads").get_by_role("link", name="Nia").click()
    await expect(sam.page.locator("#latest")).to_be_in_viewport()
    await sam.reads("You are helping")


@pytest.mark.parametrize(("live", "code"), [(True, "en"), (False, "es")], ids=["scripts", "no scripts, Spanish"])
async def test_a_newcomer_joins_asks_is_helped_and_everybody_is_told(
    visit: Visitor, site: Site, live: bool, code: str
) -> None:
    options = {"java_script_enabled": live, "locale": code, "viewport": ZOOMED}
    people = [await site.town.member(name, coordinator=name == "Cora") for name in ("Cora", "Sam", "Kim")]
    cora, sam, kim = [Walker(await window(visit, site, person, **options), code) for person in people]
    nia, email = Walker((await visit(**options)).page, code), fresh_email()
    await join(nia, email)
    await approve(cora, email)
    title = f"A crutch for a week, {code}"
    request = await ask(nia, title)
    await offer(sam, title)
    assert await site.town.count("care.threads", f"helper_id = '{people[1].user_id}'") == 1
    await people[2].offer_v2(UUID(request.rpartition("/")[2]))
    await answer(nia, title)
    await read(sam, nia, live)

    await nia.page.locator("#verbs > .menu > summary").click()
    await nia.pushes("It is done")
    await nia.reads("Marked as done. How good that it worked out!")
    for told, words in (
        (sam, "%(who)s marked the request as done. Thank you for helping!"),
        (kim, "%(who)s has found help. Thank you for offering."),
    ):
        await told.page.goto("/notifications")
        await told.reads(told.say(words) % {"who": "Nia"})
