"""The API's description (OpenAPI 3.1), made from the handlers, their types and the catalogue of offered functions.

The framework says which paths, parameters and tags there are. What it cannot know is added here: codes, headers, who
may call, and the shapes with their limits. Asks no database.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final, get_args

import msgspec
from litestar import Litestar, Response, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute

from care_collective import __version__
from care_collective.errors import STATUS, Code
from care_collective.web import functions, security
from care_collective.web.api import (
    auth,
    blocks,
    coordination,
    health,
    me,
    messaging,
    notifications,
    preferences,
    problems,
    push,
    requests,
    rollout,
    schemas,
    stream,
)
from care_collective.web.body import check_query

DESCRIPTION: Final = """\
Mutual aid for a neighbourhood. Call with a bearer token, or with the session cookie and, for a change, its CSRF token \
in the header X-CSRF-Token. Every write but sign-up, sign-in, sign-out and the deletion of an account takes a header \
Idempotency-Key of up to 255 printable ASCII characters: the same key and content are answered as before, with \
Idempotency-Replayed: true."""


ROOMS: Final = (
    messaging.router,
    stream.router,
    requests.router,
    problems.router,
    preferences.router,
    blocks.router,
    notifications.router,
    push.router,
    auth.router,
    coordination.router,
    me.router,
    health.router,
    rollout.router,
)
_REFERENCE: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_HEADERS: Final = {
    "X-Request-Id": {
        "description": "The reference of this answer, which the log knows.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
    "Retry-After": {
        "description": "How many seconds to wait.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "Idempotency-Replayed": {
        "description": "Present when this is the answer of an earlier call with the same key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "WWW-Authenticate": {
        "description": "How to say who calls.",
        "required": True,
        "schema": {"type": "string", "enum": ["Bearer"]},
    },
}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes a retry safe: the same key and content are answered as before, other content is refused.",
    "schema": {"type": "string", "minLength": 1, "maxLength": security.LONGEST_KEY, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}
_HEADERS_OF: Final = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}


@cache
def document() -> bytes:
    """The whole description, of /api and of the functions under /rest/v1/rpc, as JSON."""
    return msgspec.json.encode(_describe(Litestar(ROOMS, openapi_config=_framework(), logging_config=None)))


@get(["/schema", "/schema/openapi.json"])
async def schema() -> Response[bytes]:
    """The description. Made at its first call, which takes half a second: not on the loop that serves others."""
    return Response(await asyncio.to_thread(document), media_type="application/vnd.oai.openapi+json")


router = Router("/", include_in_schema=False, route_handlers=[schema])


def _framework() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Care Collective",
        version=__version__,
        description=DESCRIPTION,
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
                "session": SecurityScheme(
                    type="apiKey",
                    name="care_session",
                    security_scheme_in="cookie",
                    description="A change also needs the header X-CSRF-Token, from sign-in or /api/auth/me. Over TLS "
                    "the cookie is named __Host-care_session.",
                ),
                "apikey": SecurityScheme(
                    type="apiKey",
                    name="apikey",
                    security_scheme_in="header",
                    description="A token, as Supabase's clients send it; counts where there is no bearer token.",
                ),
            }
        ),
        security=[{"bearer": []}, {"session": []}],
    )


def _describe(application: Litestar) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(application.openapi_schema.to_schema()))
    shapes: set[type] = {schemas.Error, *functions.SHAPES}
    counterparts = {}
    for path, method, handler in _handlers(application):
        operation = found["paths"][path][method.lower()]
        operation["operationId"] = handler.handler_name
        operation["summary"] = handler.handler_name.replace("_", " ").capitalize()
        _complete(operation, path, method, handler, shapes)
        counterparts[handler.handler_name] = functions.Counterpart(_fields(operation, handler), _declared(handler))
    for path, operation, writes in functions.operations(counterparts):
        found["paths"][path] = {"post": _called(operation, writes=writes)}
    _, components = msgspec.json.schema_components(shapes, ref_template=_REFERENCE)
    found["components"] |= {
        "schemas": dict(sorted(components.items())),
        "headers": _HEADERS,
        "parameters": {"IdempotencyKey": _KEY},
        "responses": dict(_client_errors()),
    }
    return found


def _handlers(application: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Path, method and handler of everything under /api."""
    for route in application.routes:
        if isinstance(route, HTTPRoute) and route.path_format.startswith("/api/"):
            for method, (handler, _) in route.route_handler_map.items():
                if handler.resolve_include_in_schema():
                    yield route.path_format, method, handler


def _complete(operation: dict[str, Any], path: str, method: str, handler: HTTPRouteHandler, shapes: set[type]) -> None:
    codes = set(_codes(path, method, handler))
    keyed = Code.IDEMPOTENCY_MISMATCH in codes
    for parameter in operation.get("parameters", []):
        _tidy(parameter)
    if keyed:
        operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/IdempotencyKey"})
    shape = _body(handler)
    if shape is not None:
        shapes.add(shape)
        content = {_JSON: {"schema": reference(shape)}}
        operation["requestBody"] = {"required": _is_required(handler), "content": content}
    if security.member not in handler.resolve_guards():
        # Open to nobody; some answer for whoever calls.
        known = security.anyone in handler.resolve_guards()
        operation["security"] = [{}, {"bearer": []}, {"session": []}] if known else []
    operation["responses"] = {
        **dict(_successes(handler.responses or {}, keyed=keyed, shapes=shapes)),
        **dict(_refusals(codes)),
    }


def _tidy(parameter: dict[str, Any]) -> None:
    """A query has no null: what may be left out is not required, and that is all."""
    alternatives = parameter["schema"].pop("oneOf", [])
    for alternative in alternatives:
        if alternative != {"type": "null"}:
            parameter["schema"] |= {k: v for k, v in alternative.items() if v != "null"}
    values = parameter["schema"].get("enum")
    if values is not None:
        parameter["schema"]["enum"] = [value for value in values if value is not None]
    if isinstance(parameter["schema"].get("type"), list):
        parameter["schema"]["type"] = next(kind for kind in parameter["schema"]["type"] if kind != "null")


def _body(handler: HTTPRouteHandler) -> Any:  # noqa: ANN401  a class, or None
    """The shape of a handler's body, or None where it takes none."""
    field = handler.parsed_data_field
    if field is None:
        return None
    return next(one for one in get_args(field.annotation) or (field.annotation,) if one is not type(None))


def _is_required(handler: HTTPRouteHandler) -> bool:
    field = handler.parsed_data_field
    return field is not None and not field.is_optional


def _fields(operation: dict[str, Any], handler: HTTPRouteHandler) -> dict[str, dict[str, Any]]:
    """The schema of each field and parameter by its name."""
    found = {p["name"]: p["schema"] for p in operation.get("parameters", []) if "name" in p}
    shape = _body(handler)
    if shape is not None:
        _, components = msgspec.json.schema_components([shape], ref_template=_REFERENCE)
        found |= components[shape.__name__]["properties"]
    return found


def _declared(handler: HTTPRouteHandler) -> frozenset[Code]:
    return frozenset(code for answer in (handler.responses or {}).values() for code in getattr(answer, "codes", ()))


def _codes(path: str, method: str, handler: HTTPRouteHandler) -> Iterator[Code]:
    """Every code that a handler can answer: those it declares, and those of what stands before it."""
    yield from _declared(handler)
    # The bound on hammering, and what nobody foresaw.
    yield from (Code.RATE_LIMITED, Code.SERVER_ERROR)
    if security.member in handler.resolve_guards():
        yield Code.UNAUTHENTICATED
        yield Code.UNAVAILABLE
        if method not in security.SAFE_METHODS:
            yield from (Code.PERMISSION_DENIED, Code.VALIDATION_ERROR)  # the CSRF token, the key
    if handler.parsed_data_field is not None:
        yield from (Code.VALIDATION_ERROR, Code.TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE)
    if handler.resolve_before_request() is check_query:
        yield Code.VALIDATION_ERROR
    if "{" in path:
        yield Code.NOT_FOUND


def _successes(
    answers: Mapping[int, ResponseSpec], *, keyed: bool, shapes: set[type]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, answer in answers.items():
        if isinstance(answer, schemas.Refusals):
            continue
        headers = ("X-Request-Id", "Idempotency-Replayed") if keyed else ("X-Request-Id",)
        content: dict[str, Any] = {"schema": {"type": "string"}}
        either = get_args(answer.data_container) or (answer.data_container,)  # a stream's events have several shapes
        if all(isinstance(one, type) and issubclass(one, msgspec.Struct) for one in either):
            shapes.update(either)
            found = [reference(one) for one in either]
            content = {"schema": found[0] if len(found) == 1 else {"oneOf": found}}
        media_type = getattr(answer.media_type, "value", answer.media_type)
        yield (
            str(status),
            {
                "description": answer.description,
                "headers": _named(headers),
                "content": {media_type: content},
            },
        )


def _refusals(codes: Iterable[Code]) -> Iterator[tuple[str, dict[str, Any]]]:
    """One answer a status: the error body with the codes that there are."""
    known = sorted(codes, key=lambda code: (STATUS[code], code))
    for status in sorted({STATUS[code] for code in known}):
        names = [str(code) for code in known if STATUS[code] == status]
        yield (
            str(status),
            {
                "description": " or ".join(names),
                "headers": _named(("X-Request-Id", *_HEADERS_OF.get(status, ()))),
                "content": {_JSON: {"schema": {**reference(schemas.Error), "properties": {"code": {"enum": names}}}}},
            },
        )


def _named(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _called(operation: dict[str, Any], *, writes: bool) -> dict[str, Any]:
    """The operation of an offered function with what all of them have."""
    answer = operation.pop("answer")
    key = [{"$ref": "#/components/parameters/IdempotencyKey"}] if writes else []
    headers = ("X-Request-Id", "Idempotency-Replayed") if writes else ("X-Request-Id",)
    done = {"description": "Done, or refused", "headers": _named(headers), "content": {_JSON: {"schema": answer}}}
    errors = {str(status): {"$ref": f"#/components/responses/Rpc{status}"} for status in functions.ERRORS}
    return {**operation, "parameters": key, "responses": {"200": done, **errors}}


def _client_errors() -> Iterator[tuple[str, dict[str, Any]]]:
    """The answers that the door for Supabase's clients gives for every function."""
    for status, codes in functions.ERRORS.items():
        limited = {"properties": {"code": {"enum": list(codes)}}} if codes else {}
        yield (
            f"Rpc{status}",
            {
                "description": " or ".join(codes) or "The SQLSTATE of a fault that passes by itself",
                "headers": _named(("X-Request-Id", *_HEADERS_OF.get(status, ()))),
                "content": {_JSON: {"schema": {**reference(functions.ClientError), **limited}}},
            },
        )


def reference(shape: type) -> dict[str, str]:
    """A reference to a shape's place among the components."""
    return {"$ref": _REFERENCE.format(name=shape.__name__)}
