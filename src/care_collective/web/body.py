"""Reads a JSON body strictly: one form of each value, no duplicate keys, no text that cannot be stored."""

import json
import re
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException

from care_collective import text
from care_collective.errors import CareError, Code

# Generous for every body we take: the longest text is 1000 code points, twelve bytes each when escaped.
MAX_BYTES: Final = 64 * 1024
MOST_PARAMETERS: Final = 50
_PLACE: Final = re.compile(r"`\$\.(\w+)")
_MISSING: Final = re.compile(r"required field `(\w+)`")
_KINDS: Final = {
    "str": "text",
    "int": "a whole number",
    "bool": "true or false",
    "uuid": "an id",
    "object": "an object",
}
_EXPECTED: Final = re.compile(r"Expected `(\w+)(?: \| null)?`")
_BOUND: Final = re.compile(r"Expected `int` ([<>])= (-?\d+)")
_UNSTORABLE: Final = "This has a character that cannot be stored. Please remove it."


def refusal(field: str, words: str) -> CareError:
    """The refusal of one field. `CareError.invalid` takes names as keywords: not for names that a caller chose."""
    return CareError(Code.VALIDATION_ERROR, message=words, fields={field: words})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. A key given twice means two things at once, so it is refused and not resolved."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if not text.is_storable(name):
            raise CareError(Code.VALIDATION_ERROR, message="A field's name has a character that cannot be stored.")
        if name in found:
            raise refusal(name, "This field is given twice. Send it once.")
        if isinstance(value, str) and not text.is_storable(value):
            raise refusal(name, _UNSTORABLE)
        found[name] = value
    return found


def _no_constant(_: str) -> Any:  # noqa: ANN401  the parser's own signature
    raise CareError(Code.VALIDATION_ERROR, message="JSON has no NaN and no Infinity.")


def parse(body: bytes, *, number: Callable[[str], Any] | None = None) -> dict[str, Any]:
    """The object in a body; `number` makes a number from its text. Errors: CareError `validation_error` for what is
    no object."""
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_once, parse_constant=_no_constant, parse_int=number, parse_float=number
        )
    except UnicodeDecodeError as error:
        raise CareError(Code.VALIDATION_ERROR, message="The body is not UTF-8 text.") from error
    except (ValueError, RecursionError) as error:
        raise CareError(Code.VALIDATION_ERROR, message="The body is not JSON that we can read.") from error
    if not isinstance(value, dict):
        raise CareError(Code.VALIDATION_ERROR, message="The body has to be a JSON object.")
    return value


def convert(value: dict[str, Any], type_: Any) -> Any:  # noqa: ANN401  any handler's own body type
    """A parsed object as a handler's body type, without coercion. Errors: CareError naming the field."""
    try:
        return msgspec.convert(value, type_, strict=True)
    except msgspec.ValidationError as error:
        raise explain(str(error)) from error


def explain(problem: str) -> CareError:
    """The refusal for a message of msgspec's, in words for a person, with the field's name."""
    missing = _MISSING.search(problem)
    if missing is not None:
        return refusal(missing[1], "This is missing.")
    place = _PLACE.search(problem)
    if place is None:
        return CareError(Code.VALIDATION_ERROR)
    return refusal(place[1], describe(problem))


def describe(problem: str) -> str:
    """What a value has to be, from a message of msgspec's: a sentence without a word of the value or of Python."""
    if "enum value" in problem:
        return "Please choose one of the values on offer."
    bound = _BOUND.search(problem)
    if bound is not None:
        return f"This has to be {bound[2]} or {'more' if bound[1] == '>' else 'less'}."
    expected = _EXPECTED.search(problem)
    kind = "an id" if "UUID" in problem else _KINDS.get(expected[1]) if expected is not None else None
    return f"This has to be {kind}." if kind is not None else "Please check this value."


async def check_query(request: Request[Any, Any, Any]) -> None:
    """Before a handler of the API: refuses a parameter that is given twice, as a field is, or that cannot be stored."""
    if not request.scope["query_string"]:
        return
    seen: set[str] = set()
    # Taken once: each access parses the whole query anew.
    for name, value in request.query_params.multi_items():
        if name in seen:
            raise refusal(name, "This is given twice. Send it once.")
        if not text.is_storable(name) or not text.is_storable(value):
            raise refusal(name.replace("\0", ""), _UNSTORABLE)
        seen.add(name)
        if len(seen) > MOST_PARAMETERS:
            raise CareError(Code.VALIDATION_ERROR, message=f"Send at most {MOST_PARAMETERS} parameters.")


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON body arrives at the handler as its declared type, checked strictly."""

    async def json(self) -> Any:  # noqa: ANN401  the overridden signature
        """The body as the handler's body type. Errors: CareError, `unsupported_media_type` for what is no JSON."""
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise CareError(Code.UNSUPPORTED_MEDIA_TYPE)
        field = self.route_handler.parsed_data_field
        value = parse(await self.body())
        return value if field is None else convert(value, field.annotation)

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body in pieces. Errors: CareError where the caller hung up, which is no fault of ours."""
        try:
            async for chunk in super().stream():
                yield chunk
        except InternalServerException as error:
            raise CareError(Code.VALIDATION_ERROR, message="The body did not arrive whole.") from error
