"""The functions that are offered to clients, from the committed catalogue, and their arguments read as PostgreSQL does.

There is no second list: what `authenticated` may execute in schema public is offered, with the catalogue's own types.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from care_collective.operations import catalogue

INVALID_TEXT: Final = "22P02"
OUT_OF_RANGE: Final = "22003"
# What PostgreSQL takes for a boolean: each word, and what it begins with as long as that is no other's beginning.
_TRUE: Final = frozenset({"t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"})
_FALSE: Final = frozenset({"f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0"})
_SPACES: Final = " \t\n\v\f\r"
_UUID: Final = re.compile(r"[0-9a-f]{4}(-?[0-9a-f]{4}){7}", re.ASCII | re.IGNORECASE)
_INTEGER: Final = re.compile(r"[+-]?0*([0-9]+)", re.ASCII)


class BadValue(Exception):  # noqa: N818  a caller's, and always caught
    """A value that is none of the argument's type. Holds no part of the value: it can be what a member wrote."""

    def __init__(self, sqlstate: str, argument: catalogue.Argument) -> None:
        super().__init__(argument.name)
        self.sqlstate = sqlstate
        self.argument = argument


def _uuid(text: str) -> UUID:
    bare = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    if not _UUID.fullmatch(bare):
        raise ValueError
    return UUID(bare)


def _integer(text: str) -> int:
    number = text.strip(_SPACES)
    digits = _INTEGER.fullmatch(number)
    if digits is None:
        raise ValueError
    if len(digits[1]) > 10 or not -(2**31) <= int(number) < 2**31:
        raise OverflowError
    return int(number)


def _boolean(text: str) -> bool:
    word = text.strip(_SPACES).lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _moment(text: str) -> datetime:
    """A moment as ISO 8601 writes it; without a zone UTC, as our sessions have it."""
    found = datetime.fromisoformat(text.strip(_SPACES))
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


_READERS: Final[dict[str, Callable[[str], object]]] = {
    "uuid": _uuid,
    "text": str,
    "integer": _integer,
    "boolean": _boolean,
    "timestamp with time zone": _moment,
}


@cache
def offered() -> dict[str, list[catalogue.Argument]]:
    """The arguments of each offered function, by its name without the schema."""
    functions = catalogue.offered(catalogue.declared())
    return {function.plain_name.removeprefix("public."): function.arguments for function in functions}


def takes(arguments: list[catalogue.Argument], given: set[str]) -> bool:
    """Whether a call with these names is a call of a function with these arguments."""
    needed = {argument.name for argument in arguments if argument.value is None}
    return needed <= given <= {argument.name for argument in arguments}


def read(argument: catalogue.Argument, value: Any) -> object:  # noqa: ANN401  anything JSON has
    """An argument's value from JSON in which numbers are texts. Errors: BadValue.

    As where PostgREST hands the body to PostgreSQL: null is null, and any other value is its text, read as the type
    reads it; "5" is an integer and 1.5 is none. An object or a list is no value of any type here.
    """
    if value is None:
        return None
    if isinstance(value, dict | list):
        raise BadValue(INVALID_TEXT, argument)
    text = str(value).lower() if isinstance(value, bool) else value
    try:
        return _READERS[argument.type](text)
    except OverflowError:
        raise BadValue(OUT_OF_RANGE, argument) from None
    except ValueError:
        raise BadValue(INVALID_TEXT, argument) from None
