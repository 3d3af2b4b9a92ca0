"""What the browser is given: vendored files, tokens, templates. No server here; the pages are rendered bare."""

import gzip
import hashlib
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest

import care_collective
from care_collective.web import assets
from care_collective.web.api.schemas import Unread
from care_collective.web.pages.clock import Clock
from care_collective.web.pages.environments import ENVIRONMENTS
from care_collective.web.pages.language import ENGLISH
from care_collective.web.pages.rendering import Member, Restriction

WEB = Path(care_collective.__file__).parent / "web"
STATIC = WEB / "static"
VENDOR = STATIC / "vendor"
TEMPLATES = WEB / "templates"
SHEETS = sorted(STATIC.glob("*.css"))
TOKENS = (STATIC / "tokens.css").read_text()
FIRST_PAGE_BYTES = 30 * 1024  # half of what goals.md allows

ENVIRONMENT = ENVIRONMENTS["en"]
CLOCK = Clock(ENGLISH, UTC, datetime(2026, 11, 22, 12, tzinfo=UTC))

HOSTILE = """<script>alert(1)</script>"'"""
COMMUNITY = SimpleNamespace(name=f"Riverside {HOSTILE}", emergency_line="112")


def member(verification: str, restriction: str | None) -> Member:
    until = datetime(2030, 5, 6, 7, 8, tzinfo=UTC) if restriction == "suspended" else None
    return Member(
        user_id=UUID(int=1),
        display_name=f"Rosa {HOSTILE}",
        town=None,
        email="rosa@example.org",
        verification_status=verification,
        decided_at=None,
        decision_reason=f"We are full. {HOSTILE}" if verification == "rejected" else None,
        is_coordinator=True,
        applications_waiting=1,
        is_operator=True,
        restriction=Restriction(restriction, until, f"Too pushy. {HOSTILE}") if restriction else None,
        time_zone=None,
        locale=None,
        unread=Unread(conversations=2, messages=3, notifications=1),
    )


STANDINGS = {
    "pending": (member("pending", None), "A coordinator will look at your account"),
    "rejected": (member("rejected", None), "Your account was not approved"),
    "approved": (member("approved", None), "You are one of us"),
    "limited": (member("approved", "limited"), "Some things are paused for now"),
    "suspended": (member("approved", "suspended"), "You can read, but not write, for now"),
    "banned": (member("approved", "banned"), "You can no longer take part here"),
}


def rendered(template: str, **given: object) -> str:
    context: dict[str, object] = {
        "community": COMMUNITY,
        "member": None,
        "csrf_token": "token",
        "clock": CLOCK,
        "kept_form": "",
        "request_id": "reference-1",
        "form": {},
        "errors": {},
        "notice": None,
        "next_path": "",
        "done": "",
        "own": [],
        "near": [],
        "greeted": True,
    }
    return ENVIRONMENT.get_template(template).render(context | given)


WRONG: dict[str, object] = {
    "form": {"display_name": HOSTILE, "email": HOSTILE, "password": "secret words", "application_words": HOSTILE},
    "errors": dict.fromkeys(("form", "display_name", "email", "password", "town", "application_words"), "Not so."),
    "notice": HOSTILE,
    "next_path": HOSTILE,
}

PAGES = {
    "home, nobody": rendered("home.html"),
    "home, no community": rendered("home.html", community=None),
    "sign in": rendered("accounts/sign_in.html", csrf_token=""),
    "sign in, wrong": rendered("accounts/sign_in.html", **WRONG),
    "sign up": rendered("accounts/sign_up.html"),
    "sign up, wrong": rendered("accounts/sign_up.html", **WRONG),
    "error": rendered("error.html", status=429, words=HOSTILE, retry_after=61),
    "error, nothing known": ENVIRONMENT.get_template("error.html").render(),
    **{f"home, {name}": rendered("home.html", member=who) for name, (who, _) in STANDINGS.items()},
    **{f"status, {name}": rendered("accounts/status.html", member=who) for name, (who, _) in STANDINGS.items()},
}


class Page(HTMLParser):
    """The elements of one page, in order, and the form that each stands in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.forms: list[tuple[dict[str, str | None], list[dict[str, str | None]]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "form":
            self.forms.append((dict(attrs), []))
        elif tag in {"input", "textarea", "select"} and self.forms:
            self.forms[-1][1].append(dict(attrs))

    def named(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


@pytest.fixture(params=PAGES, ids=str)
def page(request: pytest.FixtureRequest) -> Page:
    return Page(PAGES[request.param])


def test_every_vendored_file_is_in_the_manifest_with_its_hash_and_nothing_else_is() -> None:
    manifest = json.loads((VENDOR / "manifest.json").read_text())
    present = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()} - {"manifest.json"}

    assert set(manifest) == present
    for name, entry in manifest.items():
        assert set(entry) == {"package", "version", "licence", "sha256"}, name
        assert all(entry.values()), name
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == entry["sha256"], name


@pytest.mark.parametrize("name", sorted(ENVIRONMENT.list_templates()))
def test_every_template_compiles_and_carries_no_inline_script_or_style(name: str) -> None:
    source = (TEMPLATES / name).read_text()

    ENVIRONMENT.get_template(name)
    for forbidden in (r"<script(?![^>]*\ssrc=)", r"<style\b", r"\sstyle\s*=", r"\son[a-z]+\s*=", r"javascript:"):
        assert not re.search(forbidden, source, re.IGNORECASE), f"{name}: {forbidden} is refused by our CSP"


def test_a_page_has_no_inline_code_even_when_members_type_some(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag != "style"
        assert tag != "script" or "src" in attributes
        assert not {name for name in attributes if name == "style" or name.startswith("on")}


def test_a_page_asks_only_its_own_host_for_files_and_each_is_there(page: Page) -> None:
    asked = [one.get("src") or one.get("href") or "" for one in page.named("link", "img", "script")]

    assert asked
    for address in asked:
        assert address.removeprefix(f"{assets.ROOT}/") in assets.FILES, address


def test_a_page_has_one_main_part_one_first_heading_and_a_way_to_skip_to_it(page: Page) -> None:
    ids = [one["id"] for _, one in page.elements if "id" in one]

    assert len(page.named("h1")) == 1
    assert [one["id"] for one in page.named("main")] == ["main"]
    assert page.named("a")[0]["href"] == "#main"
    assert len(ids) == len(set(ids))


def test_every_field_has_a_label_and_what_describes_it_is_there(page: Page) -> None:
    labelled = {one.get("for") for one in page.named("label")}
    ids = {one.get("id") for _, one in page.elements}

    for one in page.named("input", "select", "textarea"):
        if one.get("type") == "hidden":
            continue
        assert one.get("id") in labelled, one
        assert set((one.get("aria-describedby") or "").split()) <= ids, one


def test_every_form_posts_with_the_token(page: Page) -> None:
    for form, fields in page.forms:
        assert form.get("method") == "post"
        assert "csrf_token" in {one.get("name") for one in fields}, form


def test_errors_are_summed_up_linked_and_tied_to_their_fields() -> None:
    wrong, right = Page(PAGES["sign up, wrong"]), Page(PAGES["sign up"])
    fields = [one for one in wrong.named("input", "textarea") if one.get("type") != "hidden"]
    summary = [one for one in wrong.named("div") if one.get("role") == "alert"]

    assert [one.get("tabindex") for one in summary] == ["-1"]
    assert {f"#{one['id']}" for one in fields} <= {one.get("href") for one in wrong.named("a")}
    assert all(one.get("aria-invalid") == "true" for one in fields)
    assert all(f"{one['id']}-error" in (one["aria-describedby"] or "") for one in fields)
    assert not [one for one in right.named("div") if one.get("role") == "alert"]
    assert not [one for one in right.named("input", "textarea") if "aria-invalid" in one]


def test_typed_words_are_kept_and_a_password_never_is() -> None:
    text = PAGES["sign up, wrong"]
    values = {one.get("name"): one.get("value") for one in Page(text).named("input")}

    assert values["display_name"] == HOSTILE
    assert "secret words" not in text


@pytest.mark.parametrize("name", STANDINGS)
def test_each_standing_is_told_alone_on_home_and_on_the_account_page(name: str) -> None:
    titles = {title for _, title in STANDINGS.values()}

    for text in (PAGES[f"home, {name}"], PAGES[f"status, {name}"]):
        assert {title for title in titles if title in text} == {STANDINGS[name][1]}


def test_the_sheets_name_only_files_of_ours_that_exist() -> None:
    addresses = [one for sheet in SHEETS for one in re.findall(r"""url\(["']?([^"')]+)""", sheet.read_text())]

    assert addresses
    for address in addresses:
        assert (STATIC / address).is_file(), address


def test_every_picture_stands_where_its_class_says() -> None:
    parts = (STATIC / "parts.css").read_text()
    places = re.findall(r"icon-([a-z]+) \{ --place: (\d+);", parts)
    drawn = re.findall(r'<g id="([a-z]+)"(?: transform="translate\(0 (\d+)\)")?>', (STATIC / "icons.svg").read_text())

    assert {name: 24 * int(place) for name, place in places} == {name: int(below or 0) for name, below in drawn}
    assert f"/ {len(drawn) - 1})" in parts


def test_every_picture_that_pico_draws_from_a_data_address_is_replaced() -> None:
    pico = (VENDOR / "pico.classless.min.css").read_text()
    drawn = set(re.findall(r"(--pico-icon-[a-z]+):url\(.?data:", pico))

    assert len(drawn) >= 10
    assert drawn <= set(re.findall(r"(--pico-icon-[a-z]+):", TOKENS))


def test_the_first_page_stays_within_its_weight() -> None:
    text = PAGES["home, nobody"]
    addresses = [one["href"] or "" for one in Page(text).named("link") if one["rel"] != "icon"]
    linked = [address.removeprefix(f"{assets.ROOT}/") for address in addresses]
    parts = [text.encode(), *(assets.FILES[name].content for name in (*linked, "icons.svg", "logo.svg"))]
    weight = sum(len(gzip.compress(part)) for part in parts)

    assert weight <= FIRST_PAGE_BYTES


def test_no_sheet_has_a_class_that_no_page_has() -> None:
    pages = [*TEMPLATES.rglob("*.html"), *STATIC.glob("*.js"), *(WEB / "pages").glob("*.py")]
    written = [*pages, WEB.parent / "rollout" / "criteria.py"]  # whose states are classes
    known = set(re.findall(r"[\w-]+", " ".join(path.read_text() for path in written)))
    # These are put together from what a row says.
    known |= {start + word for start in ("icon-", "tag-", "picture-") for word in known}
    unknown: dict[str, list[str]] = {}
    for sheet in SHEETS:
        heads = re.findall(r"([^{};]+)\{", re.sub(r"/\*.*?\*/", "", sheet.read_text(), flags=re.DOTALL))
        named = {name for head in heads if "@" not in head for name in re.findall(r"[.#]([a-z][\w-]*)", head)}
        unknown |= {sheet.name: sorted(named - known)} if named - known else {}

    assert not unknown


def tokens() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """The --care-* tokens of tokens.css: light, dark by the system's wish, dark by the member's."""
    blocks = [
        dict(re.findall(r"(--care-[a-z-]+):\s*([^;]+);", body))
        for body in re.findall(r"\{([^{}]*--care-wall:[^{}]*)\}", TOKENS)
    ]
    light, by_system, by_member = blocks
    return light, by_system, by_member


def luminance(colour: str) -> float:
    """Relative luminance as in WCAG 2.2; colour: #rrggbb."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


PAPERS = ("wall", "paper", "note-butter", "note-rose", "note-mint")
READ = [  # words on a ground, at least 4.5 to 1
    *((words, ground) for words in ("ink", "ink-soft", "link", "link-hover", "danger") for ground in PAPERS),
    *(("board-ink", ground) for ground in ("board", "board-deep")),
    *(("action-ink", ground) for ground in ("action", "action-hover", "danger")),
    *(("butter-ink", ground) for ground in ("butter", "butter-hover")),
]
SEEN = [  # edges and rings, at least 3 to 1
    *(("focus", ground) for ground in PAPERS),
    *(("edge", ground) for ground in PAPERS),
    ("butter", "board"),
    ("butter", "board-deep"),
    ("action", "paper"),
]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_pair_of_colours_has_its_contrast(theme: int) -> None:
    colours = {name.removeprefix("--care-"): value for name, value in tokens()[theme].items()}

    weak = [
        f"{fore} on {ground}: {contrast(colours[fore], colours[ground]):.2f}, needs {least}"
        for pairs, least in ((READ, 4.5), (SEEN, 3.0))
        for fore, ground in pairs
        if contrast(colours[fore], colours[ground]) < least
    ]
    assert not weak


def test_both_ways_into_the_dark_have_the_same_tokens_and_the_light_has_all_of_them() -> None:
    light, by_system, by_member = tokens()

    assert by_system == by_member
    assert set(light) == set(by_member)
