"""The catalogues hold every sentence that pages can say, and each reader gets theirs, with times of their own."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from babel.messages.catalog import Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from care_collective import errors, text
from care_collective.accounts import passwords
from care_collective.rollout.criteria import Seen, judge
from care_collective.rollout.policy import INTERNAL, OFF, ON
from care_collective.web.pages.clock import Clock, zone_of
from care_collective.web.pages.language import CATALOGUES, ENGLISH, LANGUAGES, accepted, choose

WEB = CATALOGUES.parent
SPANISH = LANGUAGES["es"]
NOW = datetime(2026, 11, 22, 0, 30, tzinfo=UTC)
# Every sentence that rollout/criteria.py can say.
CRITERIA: tuple[dict[str, Any], ...] = (
    {"orphans": 3},
    {"attempts": 20, "successes": 19, "p95_ms": 499.6, "violations": 2, "failure_codes": {"rpc_error": 1}},
    {"attempts": 10, "successes": 10, "violations": 0, "violations_at": NOW},
)
PLACEHOLDER = re.compile(r"%\(\w+\)s|</?\w+>")


def sentences() -> Iterator[str | tuple[str, ...]]:
    """Everything that is marked in pages and templates, and the words of errors."""
    rooms = [("pages/**.py", "python"), ("templates/**.html", "jinja2"), ("templates/**.txt", "jinja2")]
    trimmed = {pattern: {"trimmed": "true"} for pattern, kind in rooms if kind == "jinja2"}
    for _, _, sentence, _, _ in extract_from_dir(WEB, rooms, trimmed):
        yield sentence if isinstance(sentence, str) else tuple(sentence[:2])
    yield from errors.WORDS.values()


def catalogue(code: str) -> dict[str | tuple[str, ...], Message]:
    with (CATALOGUES / code / "LC_MESSAGES" / "messages.po").open("rb") as source:
        found = read_po(source, locale=code)
    return {tuple(one.id) if isinstance(one.id, list | tuple) else one.id: one for one in found if one.id}


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_every_sentence_is_translated_and_none_is_left_over(code: str) -> None:
    wanted, there = set(sentences()), catalogue(code)

    assert sorted(map(str, wanted - set(there))) == [], f"add these to web/locale/{code}/LC_MESSAGES/messages.po"
    assert sorted(map(str, set(there) - wanted)) == [], "no page says these any more: take them out"
    for source, message in there.items():
        sources = source if isinstance(source, tuple) else (source,)
        said = message.string if isinstance(message.string, list | tuple) else (message.string,)
        assert all(said), source
        assert not message.fuzzy, source
        # What stands in a sentence stands in its translation; one of several forms may leave the number out.
        assert {p for one in said for p in PLACEHOLDER.findall(str(one))} == {
            p for one in sources for p in PLACEHOLDER.findall(one)
        }, source


def test_no_word_for_people_stands_in_a_template_unmarked() -> None:
    for path in sorted((WEB / "templates").rglob("*.*")):
        bare = re.sub(
            r"/schema|{#.*?#}|{% trans.*?endtrans %}|{%.*?%}|{{.*?}}|<[^>]*>|&\w+;", " ", path.read_text(), flags=re.S
        )
        assert re.findall(r"[A-Za-z]{3,}", bare) == [], path.name


def test_sentences_made_elsewhere_are_said_in_spanish_with_their_numbers() -> None:
    made = [
        text.check("a", 10, 1000),
        text.check("a" * 12, 0, 10),
        passwords.check_new("a"),
        passwords.check_new("a" * 300),
    ]
    made += [errors.wait_words(seconds) for seconds in (10, 600, 9000)]
    for numbers in CRITERIA:
        for stage in (OFF, INTERNAL, ON):
            made += [
                one.words for one in judge(stage, Seen(now=NOW, since=NOW - timedelta(days=9), **numbers)).criteria
            ]

    for sentence in made:
        assert sentence is not None
        said = SPANISH.say(sentence)
        assert said != sentence
        assert re.findall(r"\d+", said) == re.findall(r"\d+", sentence), said
        assert ENGLISH.say(sentence) == sentence
    assert SPANISH.say("Words of a newer server with 100 % in them.") == "Words of a newer server with 100 % in them."


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("es", "es"),
        ("es-MX,es;q=0.9,en;q=0.8", "es"),
        ("fr, en;q=0.5, es;q=0.7", "es"),
        ("en-GB,es;q=0.9", "en"),
        ("es;q=0, en;q=0.1", "en"),
        ("fr", "es"),
        ("", "es"),
        ("*;q=0.5,;;;, q=;" * 50, "es"),
    ],
)
def test_a_browser_asks_and_the_community_answers_for_it_otherwise(header: str, code: str) -> None:
    assert choose(*accepted(header), "es").code == code


def test_a_wish_that_is_no_language_of_ours_is_english() -> None:
    assert choose(None, "", "xx", "esperanto").code == "en"
    assert choose("es_MX").code == "es"


def test_times_are_those_of_the_readers_place_and_language() -> None:
    here = Clock(ENGLISH, ZoneInfo("America/New_York"), NOW)
    there = Clock(SPANISH, ZoneInfo("Europe/Madrid"), NOW)
    evening = datetime(2026, 11, 21, 23, 45, tzinfo=UTC)

    assert (here.time(evening), there.time(evening)) == ("18:45", "0:45")
    assert (here.day(evening), there.day(evening)) == ("Today", "Hoy")
    assert there.day(evening - timedelta(days=1)) == "Ayer"
    assert here.day(evening - timedelta(days=9)) == "Thursday, 12 November 2026"
    assert there.moment(evening) == "22 de noviembre de 2026, 0:45"
    assert (here.ago(NOW), there.ago(evening)) == ("just now", "hace 45 minutos")
    assert here.ago(NOW - timedelta(hours=5)) == "5 hours ago"
    assert here.ago(NOW - timedelta(days=60)) == "22 September 2026"
    assert [here.brief(evening - timedelta(days=days)) for days in (0, 1, 40)] == ["18:45", "Yesterday", "12 Oct 2026"]


def test_an_unknown_time_zone_is_the_next_one_known() -> None:
    assert zone_of(None, "", "Nowhere/Land", "../etc", "\0", "Europe/Madrid") == ZoneInfo("Europe/Madrid")
    assert zone_of("Nowhere/Land") == UTC
