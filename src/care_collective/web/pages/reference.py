"""The API for people to read: a page made from the description that programs get, and from nothing else."""

import asyncio
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import msgspec
from litestar import Response, Router, get

from care_collective.web import security
from care_collective.web.description import document
from care_collective.web.pages.environments import ENVIRONMENTS
from care_collective.web.pages.rendering import AnyRequest, current_member, frame, render

_ROOMS: Final = {
    "accounts": "Accounts",
    "requests": "Help requests",
    "messaging": "Conversations",
    "problems": "Telling of problems",
    "health": "Features and health",
    "operators": "For operators",
    "functions": "Functions, for clients of Supabase",
}
_KINDS: Final = {"boolean": "true or false", "object": "object", "null": "null", "string": "text"}
_FORMATS: Final = {"uuid": "id", "date-time": "time"}


class Value(msgspec.Struct, frozen=True):
    """A parameter, a field or a member: what it is called, what it is, and whether it has to be there."""

    name: str
    kind: str
    needed: bool
    words: str = ""


class Reply(msgspec.Struct, frozen=True):
    """An answer: its status, its codes or words, and the shapes that it may have."""

    status: str
    words: str
    shapes: list[str]


class Operation(msgspec.Struct, frozen=True):
    """One call as it is shown."""

    identity: str
    method: str
    path: str
    title: str
    words: str
    access: str
    inputs: list[Value]
    replies: list[Reply]


class Shape(msgspec.Struct, frozen=True):
    """An object that calls take or answer."""

    name: str
    words: str
    members: list[Value]


class Reference(msgspec.Struct, frozen=True):
    """The whole page."""

    rooms: dict[str, list[Operation]]
    shapes: list[Shape]


@cache
def reference() -> Reference:
    """The description as the page shows it."""
    described = msgspec.json.decode(document())
    rooms: dict[str, list[Operation]] = {title: [] for title in _ROOMS.values()}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            tag = operation["tags"][0]
            room = rooms.setdefault(_ROOMS.get(tag, tag.capitalize()), [])
            room.append(_operation(described, path, method, operation))
    shapes = [
        Shape(name, schema.get("description", ""), list(_members(schema)))
        for name, schema in described["components"]["schemas"].items()
        if "properties" in schema
    ]
    return Reference({title: room for title, room in rooms.items() if room}, shapes)


def _operation(described: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> Operation:
    inputs = [_parameter(_resolved(described, parameter)) for parameter in operation.get("parameters", [])]
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        inputs += _members(_resolved(described, schema))
    replies = [_reply(status, _resolved(described, answer)) for status, answer in operation["responses"].items()]
    return Operation(
        operation["operationId"],
        method.upper(),
        path,
        operation["summary"],
        operation["description"],
        _access(operation.get("security", described["security"])),
        inputs,
        replies,
    )


def _resolved(described: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    found = described
    for part in value.get("$ref", "").split("/")[1:]:
        found = found[part]
    return found if "$ref" in value else value


def _access(security_: list[dict[str, Any]]) -> str:
    if {} in security_:
        return "Open to everybody; with a token or session it answers for whoever calls."
    return "Needs a token or session." if security_ else "Open to everybody."


def _parameter(parameter: dict[str, Any]) -> Value:
    name = f"{parameter['name']} ({parameter['in']})"
    return Value(name, kind(parameter["schema"]), parameter.get("required", False), parameter.get("description", ""))


def _members(schema: dict[str, Any]) -> Iterator[Value]:
    for name, member in schema.get("properties", {}).items():
        yield Value(name, kind(member), name in schema.get("required", []))


def _reply(status: str, answer: dict[str, Any]) -> Reply:
    schemas = [content.get("schema", {}) for content in answer.get("content", {}).values()]
    shapes = [one for schema in schemas for one in schema.get("oneOf", [schema])]
    names = [shape["$ref"].rpartition("/")[2] for shape in shapes if "$ref" in shape]
    codes = [code for shape in shapes for code in shape.get("properties", {}).get("error", {}).get("enum", [])]
    words = answer["description"] + (f": {', '.join(codes)}" if codes else "")
    return Reply(status, words, names)


def kind(schema: dict[str, Any]) -> str:
    """What a value is, in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        values = [str(value).lower() if isinstance(value, bool) else str(value) for value in schema["enum"]]
        return f"one of {', '.join(values)}" if len(values) > 1 else values[0]
    for either in ("anyOf", "oneOf"):
        if either in schema:
            return f"{' or '.join(kind(one) for one in schema[either])}{_limits(schema)}"
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}"
    if schema.get("type") in {"integer", "number"}:
        return f"{'whole ' if schema['type'] == 'integer' else ''}number{_range(schema)}"
    known = _FORMATS.get(schema.get("format", ""))
    return known or f"{_KINDS.get(schema.get('type', ''), 'any value')}{_limits(schema)}"


def _limits(schema: dict[str, Any]) -> str:
    least, most = schema.get("minLength"), schema.get("maxLength")
    if most is None:
        return ""
    return f", {least} to {most} characters" if least else f", to {most} characters"


def _range(schema: dict[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None or most is None:
        return f", {least:.0f} or more" if least is not None else ""
    return f", {least:.0f} to {most:.0f}"


@cache
def rendered(language: str) -> str:
    """All calls and shapes in a language, as HTML: it takes as long as ten other pages, and anybody may ask for it."""
    return ENVIRONMENTS[language].get_template("reference/_calls.html").render(reference=reference())


@get("/docs/api")
async def api(request: AnyRequest) -> Response[str]:
    """The API, for people to read."""
    shown = await frame(request, await current_member(request))
    calls = await asyncio.to_thread(rendered, shown["clock"].language.code)
    return render("reference/api.html", **shown, rooms=list(reference().rooms), calls=calls)


router = Router("/", guards=[security.anyone], include_in_schema=False, route_handlers=[api])
