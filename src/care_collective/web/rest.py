"""The door for Supabase's clients: POST /rest/v1/rpc/{function}, as PostgREST answers it.

Knows no function by name. Who calls is said by a token alone, never by a cookie; what they may do the function says,
and a refusal is its value. One handler serves every function, so that the framework cannot describe them: functions.py
does.
"""

from typing import Any, Final

from litestar import Response, Router, post, route
from litestar.enums import HttpMethod
from litestar.params import FromPath

from care_collective.accounts.tokens import OtherRole
from care_collective.db.call import NOBODY, Caller
from care_collective.errors import CareError
from care_collective.web import offered, postgrest, security
from care_collective.web.body import parse
from care_collective.web.security import AnyRequest

_JSON: Final = "application/json"
_OBJECT: Final = "application/vnd.pgrst.object+json"  # as .single() asks: here every answer is one object
_READABLE: Final = frozenset(
    {"*/*", "application/*", _JSON, "application/vnd.pgrst.object", "application/vnd.pgrst.array+json", _OBJECT}
)


@post("/{function:str}", status_code=200)
async def call(request: AnyRequest, function: FromPath[str]) -> Response[bytes]:
    """Calls an offered function with the named arguments of a JSON object; the answer is the function's own."""
    caller = await _caller(request, function)
    media_type = _answered_in(request)
    profile = request.headers.get("content-profile", "public")
    if profile != "public":
        raise postgrest.bad_schema(profile)
    given = await _arguments(request)
    known = offered.offered()
    if function not in known or not offered.takes(known[function], set(given)):
        raise postgrest.unknown(function, set(given), known)
    if caller.user_id is None:
        raise postgrest.forbidden(function, known=False)
    try:
        arguments = {a.name: offered.read(a, given[a.name]) for a in known[function] if a.name in given}
    except offered.BadValue as error:
        raise postgrest.bad_value(error) from None
    answer = await security.services(request).messaging.call(function, caller, arguments)
    return postgrest.response(answer.text.encode(), status=200, headers=answer.headers, media_type=media_type)


@route("/{function:str}", http_method=HttpMethod.OPTIONS)
async def preflight(request: AnyRequest, function: FromPath[str]) -> Response[None]:
    """Lets a browser call from a page of any site."""
    return postgrest.preflight()


async def _caller(request: AnyRequest, function: str) -> Caller:
    """Who calls: the bearer token's member, else the apikey's, else nobody, whom a platform's anon key names too."""
    token = security.bearer_token(request)
    if token is None:
        token = request.headers.get("apikey")
    if token is None:
        return NOBODY
    try:
        return await security.by_token(request, token)
    except CareError as error:
        if not isinstance(error.__cause__, OtherRole):
            raise
        if error.__cause__.role != "anon":
            raise postgrest.forbidden(function, known=True) from None
        return NOBODY


def _answered_in(request: AnyRequest) -> str:
    """The media type of the answer, from what the caller reads. All of them are the same JSON."""
    asked = request.headers.get("accept", "") or "*/*"
    kinds = [part.partition(";")[0].strip().lower() for part in asked.split(",")]
    if _READABLE.isdisjoint(kinds):
        raise postgrest.bad_accept(asked)
    return _OBJECT if _OBJECT in kinds else _JSON


async def _arguments(request: AnyRequest) -> dict[str, Any]:
    """The object in the body, with numbers as texts; no body is an object without members."""
    media_type = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if media_type != _JSON:
        raise postgrest.bad_content(media_type)
    body = await request.body()
    return parse(body, number=str) if body else {}


# The preflight first: after any other handler the framework has put one of its own in its place.
router = Router(postgrest.RPC, include_in_schema=False, route_handlers=[preflight, call])
