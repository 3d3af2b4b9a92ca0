"""Every page of the router, with words from anywhere in it: by axe, finger and zoom, in both languages and themes.

What people here are called and write is code, turns its surroundings around, has no end, or comes from other alphabets.
"""

import re
from dataclasses import dataclass
from uuid import UUID

import pytest
from playwright.async_api import Page, Response, expect

from browser.conftest import Site, Visitor
from browser.looks import OVERLAPPING, SMALL, TINY, WIDE, ZOOMED, violations
from browser.test_talking import signed_in
from care_collective.accounts import resets
from care_collective.notifications import unsubscribe
from harness import FIRST_WORDS, Person
from web.pages import Sheet
from web.test_rollout import operator_of
from web_harness import pages_of

CODE = "<script>window.ran = 1</script>"
HOSTILE = (
    f"\u202e{CODE}<img src=x onerror='window.ran = 1'>",
    "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 3,
    "Z\u0351\u0323\u0310\u0489" * 9 + " \u5c71\u7530\u82b1\u5b50 \u0645\u0631\u064a\u0645 \u05d3\u05d5\u05d3",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466" * 10,
)
# What a form is too long with, of 10,000 characters and no place to break.
ENDLESS = "w" * 10_000
# What a page is at first sight. The reference's calls are alike: a few of each room are enough, and axe takes seconds
# for all. An open menu lies over others, the header's over what axe would measure.
FIRST = f"""() => {{
    const ran = Boolean(window.ran) || document.querySelectorAll('main script, main img, [onerror]').length > 0;
    const html = document.documentElement.outerHTML;
    const open = (which, yes) => document.querySelectorAll(which).forEach(one => {{ one.open = yes }});
    if (location.pathname === '/docs/api') {{
        document.querySelectorAll('section > :nth-child(n+5)').forEach(one => one.remove());
    }}
    open('.menu, .rest > details', false);
    const over = ({OVERLAPPING})();
    open('main details', true);
    return {{ ran, html, over, size: parseFloat(getComputedStyle(document.querySelector('main')).fontSize) }};
}}"""
# What can be too small or too wide once all of it is open; for the width, in this window. The reference is for
# developers: its links are words in a text.
OPENED = f"""() => {{
    const found = [...({TINY})(), ...(location.pathname === '/docs/api' ? [] : ({SMALL})())];
    document.querySelectorAll('details').forEach(one => {{ one.open = true }});
    return [...found, ...({WIDE})()];
}}"""
# Large text on a phone, and a small phone.
PHONES = ((360, "200%"), (320, "100%"))
SCALED = f"size => {{ document.documentElement.style.fontSize = size; return ({WIDE})(); }}"
# The places of the header, by the line that each stands in.
ROWS = "new Set([...document.querySelectorAll('.places li')].map(e => e.offsetTop)).size"
# Of what axe looks at, what a language, a theme or a refusal can change.
RULES = ("color-contrast", "html-lang-valid", "label", "aria-valid-attr-value")
# No page: one's data as a file, a stream, what a script of a page reads, and a script.
NO_PAGES = {"/settings/data/file", "/messages/stream", "/operator/rollout/live", "/push-worker.js"}


@dataclass(frozen=True, slots=True)
class Stage:
    """Who looks at which page, by the router's table, and which forms are sent in vain with endless words."""

    people: dict[str, Person]
    pages: dict[str, list[tuple[str, str]]]
    forms: list[tuple[str, str, str]]


async def people_of(site: Site) -> dict[str, Person]:
    """Members of every kind, called what no form would have made of it."""
    town, owner = site.town, site.town.care.owner
    names = dict(zip(("asker", "helper", "blocked", "second"), (words[:80] for words in HOSTILE), strict=True))
    people = {who: await town.member(name) for who, name in names.items()}
    people["operator"] = await operator_of(town)
    people["cora"] = await town.member(HOSTILE[0][:80], coordinator=True)
    for who, status in (("pending", "pending"), ("rejected", "rejected")):
        people[who] = await town.member(names["asker"], status=status)
        await owner.execute(
            "update public.profiles set application_words = $1, decision_reason = $2, town = $3 where user_id = $4",
            " ".join(HOSTILE)[:500],
            HOSTILE[0],
            names["blocked"],
            people[who].user_id,
        )
    return people


@pytest.fixture(scope="module")
async def stage(site: Site) -> Stage:
    """Two requests, three conversations, and what everybody was told of them."""
    people = await people_of(site)
    asker, helper, second, care = people["asker"], people["helper"], people["second"], site.town.care
    asked, free = [await site.town.request(asker, title=words[:100]) for words in HOSTILE[:2]]
    for column in ("description", "exchange_offer"):
        await care.owner.execute(f"update public.help_requests set {column} = $1 where id = $2", HOSTILE[0], asked)
    threads = [
        (await who.offer_v2(asked, f"{FIRST_WORDS} {HOSTILE[0]}"))["conversation_id"] for who in (helper, second)
    ]
    for words in (*HOSTILE, "w" * 1000):
        assert (await helper.send(threads[0], words))["success"]
    declined = await asker.call("decline_offer", conversation_id=UUID(threads[1]), reason=HOSTILE[0])
    assert declined["success"]
    await site.town.block(asker, people["blocked"])
    await care.owner.execute(
        "insert into care.credentials (user_id, kind, secret) values ($1, 'password', 'none')", asker.user_id
    )
    set_at = await care.database.value("care.password_set_at", p_user_id=asker.user_id)
    services = site.services
    reset = resets.reset_token(services.secret_key, user_id=asker.user_id, set_at=set_at, now=services.now())
    sealed = unsubscribe.sealed(services.secret_key, site.town.community_id, asker.user_id)
    thread, request = f"/messages/{threads[0]}", f"/requests/{asked}"
    pages: dict[str, list[tuple[str, str]]] = {
        "/": [("asker", "/"), ("nobody", "/"), ("nobody", "/nothing-here")],
        "/sign-in": [("nobody", "/sign-in")],
        "/sign-up": [("nobody", "/sign-up")],
        "/password/forgotten": [("nobody", "/password/forgotten")],
        "/password/new": [("nobody", "/password/new?token=x"), ("nobody", f"/password/new?token={reset}")],
        "/unsubscribe": [("nobody", "/unsubscribe?m=x"), ("nobody", f"/unsubscribe?m={sealed}")],
        "/docs/api": [("nobody", "/docs/api")],
        "/account": [("rejected", "/account"), ("pending", "/account")],
        "/requests": [("second", f"/requests?search={ENDLESS[:101]}"), ("second", "/requests")],
        "/requests/mine": [("asker", "/requests/mine")],
        "/requests/new": [("asker", "/requests/new")],
        "/requests/{help_request_id}": [("asker", request), ("second", f"/requests/{free}"), ("helper", request)],
        "/requests/{help_request_id}/edit": [("asker", f"{request}/edit")],
        "/messages": [("cora", f"/messages?search={HOSTILE[0]}"), ("asker", "/messages")],
        "/messages/{conversation_id}": [("helper", thread), ("asker", thread), ("second", f"/messages/{threads[1]}")],
        "/notifications": [("pending", "/notifications"), ("asker", "/notifications")],
        "/settings": [("asker", "/settings")],
        "/settings/password": [("asker", "/settings/password")],
        "/settings/data": [("asker", "/settings/data")],
        "/settings/data/gone": [("nobody", "/settings/data/gone")],
        "/settings/blocks": [("asker", "/settings/blocks")],
        "/problems": [("asker", f"/problems?code={CODE}&reference={CODE}")],
        "/coordinator/approvals": [
            ("helper", "/coordinator/approvals"),
            *(("cora", f"/coordinator/approvals{query}") for query in ("?rejected", "")),
        ],
        "/operator/rollout": [("operator", "/operator/rollout")],
        "/operator/rollout/move": [("operator", "/operator/rollout/move")],
    }
    forms = [
        *(("nobody", "/sign-in", "/sign-in"), ("nobody", "/sign-up", "/sign-up")),
        ("nobody", f"/password/new?token={reset}", "/password/new"),
        *(("asker", "/requests/new", "/requests"), ("asker", f"{request}/edit", "/edit")),
        *(("second", f"/requests/{free}", "/offer"), ("asker", request, "/cancel")),
        *(("asker", thread, thread), ("asker", thread, "/decline")),
        *(("asker", f"/settings{room}", f"/settings{room}") for room in ("/password", "/data")),
        *(("asker", "/settings", "/profile"), ("asker", "/problems", "/problems")),
        *(("cora", "/coordinator/approvals", "/reject"), ("operator", "/operator/rollout/move", "/move")),
    ]
    return Stage(people, pages, forms)


async def test_every_page_of_the_router_is_looked_at(visit: Visitor, site: Site, stage: Stage) -> None:
    read = {path for path, methods in pages_of(site.services) if "GET" in methods}
    assert stage.pages.keys() | NO_PAGES <= read
    page = (await visit()).page
    await signed_in(page, site, stage.people["asker"])
    for template in read - stage.pages.keys() - NO_PAGES:
        path = re.sub(r"\{.*?\}", str(stage.people["asker"].user_id), template)
        answer = await page.request.get(path, max_redirects=0)
        assert answer.status == 303, f"{template} is a page that nothing here looks at"


@dataclass(frozen=True, slots=True)
class Window:
    """One window in which everybody looks in turn: what a browser keeps of style sheets and scripts serves all."""

    page: Page
    site: Site
    stage: Stage

    async def open(self, who: str, path: str) -> Response | None:
        """Opens a page as a member, or as nobody."""
        await self.page.context.clear_cookies()
        if who != "nobody":
            await signed_in(self.page, self.site, self.stage.people[who])
        return await self.page.goto(path)

    async def seen(self, answer: Response | None, *rules: str) -> list[str]:
        """What is wrong with the page that has been opened."""
        page = self.page
        assert answer is not None
        assert answer.status < 500, page.url
        policy = (await answer.all_headers())["content-security-policy"]
        assert policy.startswith("default-src 'self';"), page.url
        assert not re.search(r"unsafe|script-src|style-src|\*|data:|https?:", policy), page.url
        first = await page.evaluate(FIRST)
        assert first["ran"] is False, page.url
        assert Sheet(first["html"]).loose == [], page.url
        assert first["size"] >= 18, page.url
        wrong = [*first["over"], *await violations(page, *rules), *await page.evaluate(OPENED)]
        for width, text in PHONES:
            await page.set_viewport_size({"width": width, "height": 740})
            wrong += [f"{width} {text}: {one}" for one in await page.evaluate(SCALED, text)]
        assert await page.evaluate(ROWS) <= 1, page.url  # the header grew twice with its links
        await page.set_viewport_size(ZOOMED)
        return [f"{page.url}: {one}" for one in wrong]


async def window_for(visit: Visitor, site: Site, stage: Stage, **options: object) -> Window:
    """A window for everybody."""
    return Window((await visit(reduced_motion="reduce", viewport=ZOOMED, **options)).page, site, stage)


async def test_every_page_is_clear_to_everybody_and_runs_nothing_that_was_typed(
    visit: Visitor, site: Site, stage: Stage
) -> None:
    window, wrong = await window_for(visit, site, stage), []
    for *others, place in stage.pages.values():
        wrong += await window.seen(await window.open(*place))
        for other in others:  # the same page, otherwise filled
            wrong += await window.seen(await window.open(*other), *RULES)
    assert wrong == []


async def test_every_page_is_as_clear_in_spanish_and_in_the_dark(visit: Visitor, site: Site, stage: Stage) -> None:
    window, wrong = await window_for(visit, site, stage, locale="es", color_scheme="dark"), []
    for place in [places[-1] for places in stage.pages.values()]:
        answer = await window.open(*place)
        await expect(window.page.locator("html")).to_have_attribute("lang", "es")
        wrong += await window.seen(answer, *RULES)
    assert wrong == []


# Sends a form as a browser would that has no scripts and knows no limits.
SEND = """(form, words) => {
    for (const one of form.querySelectorAll('textarea, input:not([type=hidden], [type=checkbox])')) one.value = words;
    HTMLFormElement.prototype.submit.call(form);
}"""


async def test_a_word_without_an_end_is_refused_on_every_form_and_laid_out(
    visit: Visitor, site: Site, stage: Stage
) -> None:
    window, wrong = await window_for(visit, site, stage, locale="es", color_scheme="dark"), []
    page = window.page
    for who, path, ending in stage.forms:
        await window.open(who, path)
        form = page.locator(f"main form[method=post][action$='{ending}']").first
        async with page.expect_navigation() as sent:
            await form.evaluate(SEND, ENDLESS)
        answer = await sent.value
        assert 400 <= answer.status < 500, (path, answer.status)
        await expect(page.get_by_role("alert")).to_be_visible()
        wrong += await window.seen(answer, *RULES)
    assert wrong == []
