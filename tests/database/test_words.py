"""What Python and SQL both say must be the same: sentences, trimming, blankness, limits."""

import json
import sys
import unicodedata
from collections.abc import Iterable
from itertools import chain

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from care_collective import text
from care_collective.errors import TRANSIENT_CLASSES, WORDS, Code, wait_words, words
from harness import Care

SURROGATES = range(0xD800, 0xE000)
# Every assigned plane whole; of the empty and private ones (a million points, ten seconds) one in 97.
SAMPLED = (
    range(1, 0x40000),
    range(0x40000, 0xE0000, 97),
    range(0xE0000, 0xE1000),
    range(0xE1000, sys.maxunicode + 1, 97),
)


def points(numbers: Iterable[int]) -> list[str]:
    """Those that can stand in a text. Made where they are needed: every process of a run reads this file."""
    return [chr(number) for number in numbers if number not in SURROGATES]


# Said over HTTP only; SQL never refuses with these.
NOT_IN_SQL = {"csrf", "already_reported"}
NOT_SQL_CODES = {Code.METHOD_NOT_ALLOWED, Code.TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE, Code.UNAUTHENTICATED}


async def test_sql_says_the_sentences_of_python(shared: Care) -> None:
    reasons = {reason for _, reason in WORDS} - NOT_IN_SQL | {"unknown reason", None}
    for code in set(Code) - NOT_SQL_CODES:
        for reason in reasons:
            said = await shared.owner.fetchval("select care.words($1, $2)", code.value, reason)
            assert said == words(code, reason), (code, reason)


async def test_sql_says_how_long_to_wait_as_python_does(shared: Care) -> None:
    for seconds in (0, 1, 59, 60, 61, 600, 7139, 7140, 7141, 86400):
        assert await shared.owner.fetchval("select care.wait_words($1)", seconds) == wait_words(seconds)
    assert "until 10 minutes have passed" in wait_words(600)


async def test_sql_refuses_with_no_reason_that_python_has_no_words_for(shared: Care) -> None:
    texts = await shared.owner.fetch(
        "select r[1] as code, r[2] as reason from pg_proc p "
        "cross join lateral regexp_matches(p.prosrc, 'care\\.refusal\\(''(\\w+)''(?:, ''(\\w+)'')?', 'g') r "
        "where p.pronamespace in ('public'::regnamespace, 'care'::regnamespace)"
    )
    assert len(texts) > 30
    for code, reason in texts:
        assert (Code(code), reason) in WORDS, (code, reason)


async def test_the_same_faults_are_transient_in_sql_and_python(shared: Care) -> None:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    classes = [a + b for a in alphabet for b in alphabet]
    rows = await shared.owner.fetch(
        "select c from unnest($1::text[]) as c where care.is_transient(c || '000')", classes
    )
    assert {row["c"] for row in rows} == TRANSIENT_CLASSES


async def test_white_space_and_blankness_agree_on_every_code_point(shared: Care) -> None:
    rows = await shared.owner.fetch(
        "select c, care.trim_text(c) = '' as white from unnest($1::text[]) as c where care.is_blank(c)",
        points(chain.from_iterable(SAMPLED)),
    )
    assert {row["c"] for row in rows} == set(text.BLANK) - {"\0"}
    assert {row["c"] for row in rows if row["white"]} == set(text.WHITE_SPACE)
    assert await shared.owner.fetchval(
        "select care.trim_text($1) = $1", "".join(set(text.BLANK) - set(text.WHITE_SPACE) - {"\0"})
    )


def test_the_list_of_blanks_covers_what_unicode_says_of_this_python() -> None:
    for point in points(range(1, sys.maxunicode + 1)):
        if unicodedata.category(point) in ("Cc", "Cf") or point.isspace():
            # 0x1C to 0x1F are white to Python and control characters to Unicode.
            assert point in text.BLANK, hex(ord(point))
    assert set(text.WHITE_SPACE) <= set(text.BLANK)
    assert {"\u034f", "\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"} <= set(text.BLANK)


texts = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        st.sampled_from(sorted(set(text.BLANK) - {"\0"})),
        st.sampled_from("a \t\n\u0301é\U0001f600"),
    ),
    max_size=40,
)


async def test_a_text_is_judged_alike_by_sql_and_python(shared: Care) -> None:
    samples: list[tuple[str, int, int]] = []

    @settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(texts, st.integers(0, 12), st.integers(12, 30))
    def collect(value: str, minimum: int, maximum: int) -> None:
        samples.append((value, minimum, maximum))

    collect()
    limits = ((9, 10), (10, 10), (1000, 1000), (1001, 1000))
    samples += [(piece * size, 10, bound) for size, bound in limits for piece in ("a", "é", "\U0001f600", "e\u0301")]
    rows = await shared.owner.fetch(
        "select care.trim_text(t) as trimmed, care.check_text('field', care.trim_text(t), low, high) as refusal, "
        "care.is_text(care.trim_text(t), greatest(low, 1), high) as storable "
        "from unnest($1::text[], $2::integer[], $3::integer[]) as u (t, low, high)",
        [s[0] for s in samples], [s[1] for s in samples], [s[2] for s in samples],
    )  # fmt: skip
    for (value, minimum, maximum), row in zip(samples, rows, strict=True):
        said = text.check(value, minimum, maximum)
        assert row["trimmed"] == text.trim(value)
        if said is None:
            assert row["refusal"] is None, value
            # What passes the check passes the table's CHECK too; an optional text may be blank and is then stored null.
            assert row["storable"] or text.is_blank(value), value
        else:
            refusal = json.loads(row["refusal"])
            assert (refusal["error"], refusal["message"], refusal["fields"]) == (
                "validation_error",
                said,
                {"field": said},
            )
