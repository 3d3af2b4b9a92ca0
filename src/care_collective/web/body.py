"""Reads a JSON body strictly: one form of each value, no duplicate keys, no text that cannot be stored."""

import json
import re
from typing import Any, Final

import msgspec
from litestar import Request

from care_collective import text
from care_collective.errors import CareError, Code

# Generous for every body we take: the longest text is 1000 code points, twelve bytes each when escaped.
MAX_BYTES: Final = 64 * 1024
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


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. A key given twice means two things at once, so it is refused and not resolved."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if not text.is_storable(name):
            raise CareError(Code.VALIDATION_ERROR, message="A field's name has a character that cannot be stored.")
        if name in found:
            raise CareError.invalid(**{name: "This field is given twice. Send it once."})
        if isinstance(value, str) and not text.is_storable(value):
            raise CareError.invalid(**{name: "This has a character that cannot be stored. Please remove it."})
        found[name] = value
    return found


def _no_constant(name: str) -> Any:  # noqa: ANN401  the parser's own signature
    raise CareError(Code.VALIDATION_ERROR, message=f"{name} is no JSON value.")


def parse(body: bytes) -> dict[str, Any]:
    """The object in a body. Errors: CareError `validation_error` for anything else."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
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
        return CareError.invalid(**{missing[1]: "This is missing."})
    place = _PLACE.search(problem)
    expected = _EXPECTED.search(problem)
    kind = _KINDS.get(expected[1], "another value") if expected is not None else "another value"
    if "UUID" in problem:
        kind = "an id"
    if place is None:
        return CareError(Code.VALIDATION_ERROR)
    return CareError.invalid(**{place[1]: f"This has to be {kind}."})


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
