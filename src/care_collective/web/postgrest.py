"""PostgREST's answers, in its own codes and words: what Supabase's clients expect under /rest/.

Pure: knows no request, no database and no value that a caller sent, only names. A code that PostgREST does not have is
ours.
"""

import re
from difflib import get_close_matches
from typing import Any, Final, TypeVar

import msgspec
from litestar import Response

from care_collective.accounts.tokens import Expired
from care_collective.errors import CareError, Code, words
from care_collective.operations.catalogue import Argument
from care_collective.web.offered import OUT_OF_RANGE, BadValue

ROOT: Final = "/rest/"
RPC: Final = "/rest/v1/rpc"
_TABLE: Final = re.compile(r"/rest/v1/([^/]+)/?")
_Body = TypeVar("_Body")

# Front ends of Supabase's live on hosts of their own. No cookie counts here, so there is nothing that another site
# could use without having been given a token.
CORS: Final = {"Access-Control-Allow-Origin": "*"}
EXPOSED: Final = {"Access-Control-Expose-Headers": "Idempotency-Replayed, Retry-After, X-Request-Id"}
PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": (
        "authorization, apikey, content-type, content-profile, prefer, idempotency-key, x-client-info, *"
    ),
    "Access-Control-Max-Age": "3600",
}


class Problem(Exception):  # noqa: N818  most are refusals
    """An error as PostgREST would answer it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"code": code, "message": message, "details": details, "hint": hint}

    def encoded(self) -> bytes:
        """The error's body."""
        return msgspec.json.encode(self.body)


def unknown(function: str, given: set[str], known: dict[str, list[Argument]]) -> Problem:
    """No offered function has this name and takes arguments of these names."""
    called = f"public.{function}"
    names = ", ".join(sorted(given))
    with_names = f"with parameter{'s' if len(given) > 1 else ''} {names}" if given else "without parameters"
    return Problem(
        404,
        "PGRST202",
        f"Could not find the function {called}{f'({names})' if given else ' without parameters'} in the schema cache",
        details=f"Searched for the function {called} {with_names} or with a single unnamed json/jsonb parameter, "
        "but no matches were found in the schema cache.",
        hint=_meant(function, known),
    )


def _meant(function: str, known: dict[str, list[Argument]]) -> str | None:
    if function in known:
        names = ", ".join(sorted(argument.name for argument in known[function]))
        return f"Perhaps you meant to call the function public.{function}({names})"
    near = get_close_matches(function[:100], known, n=1, cutoff=0.75)
    return f"Perhaps you meant to call the function public.{near[0]}" if near else None


def bad_value(error: BadValue) -> Problem:
    """A value is none of its argument's type."""
    kind = error.argument.type
    wrong = "value out of range for" if error.sqlstate == OUT_OF_RANGE else "invalid input syntax for"
    return Problem(400, error.sqlstate, f"{wrong} type {kind}", details=f"Argument {error.argument.name}.")


def bad_schema(name: str) -> Problem:
    """Another schema than the one that is offered."""
    return Problem(406, "PGRST106", f"Invalid schema: {name}", hint="Only the following schemas are exposed: public")


def bad_accept(asked: str) -> Problem:
    """An answer in a form that there is not."""
    return Problem(406, "PGRST107", f"None of these media types are available: {asked}")


def bad_content(media_type: str) -> Problem:
    """A body in a form that is not read."""
    return Problem(400, "PGRST102", f"Content-Type not acceptable: {media_type}")


def forbidden(function: str, *, known: bool) -> Problem:
    """A caller who may execute nothing: 401 for nobody, 403 for a `known` role."""
    return Problem(403 if known else 401, "42501", f"permission denied for function {function}")


def of(error: CareError, *, method: str, path: str, request_id: str) -> Problem:
    """One of our errors as PostgREST would put it. A fault's reference is its hint."""
    code, message, hint = error.sqlstate, error.message, None
    match error.code:
        case Code.UNAUTHENTICATED:
            code = "PGRST301"
            message = "JWT expired" if isinstance(error.__cause__, Expired) else "JWT invalid"
        case Code.NOT_FOUND:
            table = _TABLE.fullmatch(path)
            code = "PGRST205" if table else "PGRST125"
            message = (
                f"Could not find the table 'public.{table[1]}' in the schema cache"
                if table
                else "Invalid path specified in request URL"
            )
        case Code.METHOD_NOT_ALLOWED:
            code, message = "PGRST101", f"Cannot use the {method} method on RPC"
        case Code.VALIDATION_ERROR:
            code = code or "PGRST102"
        case Code.UNAVAILABLE:
            code = code or "PGRST000"
        case Code.RPC_ERROR | Code.SERVER_ERROR:
            code, message, hint = "XX000", words(error.code), f"Reference: {request_id}"
    return Problem(error.status, code or str(error.code), message, hint=hint)


def response(
    content: _Body, *, status: int, headers: dict[str, str], media_type: str = "application/json"
) -> Response[_Body]:
    """An answer that any site's front end may read."""
    return Response(content, status_code=status, headers={**CORS, **EXPOSED, **headers}, media_type=media_type)


def preflight() -> Response[Any]:
    """What a browser asks before it lets a page of another site call."""
    return Response(None, status_code=204, headers={**CORS, **PREFLIGHT})
