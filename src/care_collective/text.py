"""The rules of contract.md for anything a member writes: trimming, blankness, length, and the words of a refusal.

The same rules stand in SQL (migration 0001, function care.check_text); tests hold the two against each other.
"""

import re
from typing import Final, NamedTuple

from msgspec import Meta


def _characters(*ranges: tuple[int, int]) -> str:
    return "".join(chr(point) for first, last in ranges for point in range(first, last + 1))


# Unicode's White_Space property. It has not changed since Unicode 6.3.
WHITE_SPACE: Final = _characters(
    (0x09, 0x0D), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
    (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000),
)  # fmt: skip

# What shows nothing: White_Space, the categories Cc and Cf (Unicode 15), and the letters and marks that are drawn
# empty (U+034F, U+115F, U+1160, U+2800, U+3164, U+FFA0). Listed, because the classes of a regular expression differ
# between Python, PostgreSQL and locales.
BLANK: Final = _characters(
    (0x00, 0x20), (0x7F, 0xA0), (0xAD, 0xAD), (0x034F, 0x034F), (0x0600, 0x0605), (0x061C, 0x061C),
    (0x06DD, 0x06DD), (0x070F, 0x070F), (0x0890, 0x0891), (0x08E2, 0x08E2), (0x115F, 0x1160), (0x1680, 0x1680),
    (0x180E, 0x180E), (0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x2064), (0x2066, 0x206F), (0x2800, 0x2800),
    (0x3000, 0x3000), (0x3164, 0x3164), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF9, 0xFFFB), (0x110BD, 0x110BD),
    (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0001, 0xE0001),
    (0xE0020, 0xE007F),
)  # fmt: skip


class Limits(NamedTuple):
    """How many code points a text may have after trimming; with a minimum of 0 it may be absent or blank."""

    minimum: int
    maximum: int

    @property
    def described(self) -> Meta:
        """The limits for the description of a field. They refuse nothing: `check` does, after trimming."""
        known = {"minLength": self.minimum} if self.minimum else {}
        return Meta(extra_json_schema={**known, "maxLength": self.maximum})


FIRST_MESSAGE: Final = Limits(10, 1000)
MESSAGE: Final = Limits(1, 1000)
TITLE: Final = Limits(5, 100)
DESCRIPTION: Final = Limits(0, 1000)
EXCHANGE_OFFER: Final = Limits(0, 300)
REASON: Final = Limits(0, 500)
CHANGE_REASON: Final = Limits(1, 1000)
SEARCH: Final = Limits(0, 100)
NAME: Final = Limits(1, 80)
TOWN: Final = Limits(0, 80)
APPLICATION_WORDS: Final = Limits(0, 500)
PROBLEM_CODE: Final = Limits(0, 60)
REFERENCE: Final = Limits(0, 100)
PROBLEM_WORDS: Final = Limits(0, 500)


def trim(value: str) -> str:
    """The text without Unicode white space at both ends: the form that is stored."""
    return value.strip(WHITE_SPACE)


def is_blank(value: str) -> bool:
    """Whether nothing visible remains of the text."""
    return not value.strip(BLANK)


def is_storable(value: str) -> bool:
    """Whether PostgreSQL can hold the text: no NUL and no lone surrogate."""
    if "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


# Control characters, line separators, and what turns the direction of all that follows.
_COMMANDS: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069]")


def on_one_line(value: str) -> str:
    """A text as a terminal may show it: what would command the terminal or begin a line stands there as its escape.

    Whoever signs up chooses a name, and whoever asks for a page chooses its path.
    """
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), value)


def check(value: str | None, minimum: int, maximum: int) -> str | None:
    """What is wrong with a text, in words for the person who wrote it, or None when it may be stored.

    `minimum` and `maximum` count code points after trimming; with a minimum of 0 the text may be absent or blank.
    """
    trimmed = trim(value or "")
    if not is_storable(trimmed):
        return "This has a character that cannot be stored. Please remove it."
    if is_blank(trimmed):
        return "Please write something here." if minimum > 0 else None
    if len(trimmed) < minimum:
        return f"Please write at least {minimum} characters."
    if len(trimmed) > maximum:
        return f"Please keep this to {maximum} characters; it has {len(trimmed)}."
    return None
