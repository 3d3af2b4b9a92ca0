"""Turns every error into its answer: JSON under /api, PostgREST's under /rest, a page elsewhere.

No text of the driver's leaves.
"""

import traceback
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, ValidationException
from litestar.response import Redirect

from care_collective.errors import CareError, Code
from care_collective.web import postgrest
from care_collective.web.body import describe
from care_collective.web.pages import rendering

# Where programs call; everywhere else people look.
_PROGRAMS: Final = ("/api/", "/schema/")

_LONGEST_TRACE: Final = 100  # lines

log = structlog.get_logger("care_collective.web")

_BY_STATUS = {
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    413: Code.TOO_LARGE,
    415: Code.UNSUPPORTED_MEDIA_TYPE,
    429: Code.RATE_LIMITED,
}


def from_http(error: HTTPException) -> CareError:
    """The framework's own refusal as one of ours."""
    if isinstance(error, ValidationException):
        return _from_validation(error)
    if error.status_code in _BY_STATUS:
        return CareError(_BY_STATUS[error.status_code])
    return CareError(Code.VALIDATION_ERROR if error.status_code < 500 else Code.SERVER_ERROR)


def _from_validation(error: ValidationException) -> CareError:
    extra = error.extra if isinstance(error.extra, list) else []
    found = [e for e in extra if isinstance(e, dict) and e.get("key")]
    # A parameter that is also a word of Python's is read under its name with an underscore.
    fields = {str(e["key"]).removesuffix("_"): describe(str(e.get("message"))) for e in found}
    if "data" in fields or not fields:
        return CareError(Code.VALIDATION_ERROR, message="Send a JSON object with the fields of this call.")
    return CareError(Code.VALIDATION_ERROR, message=" ".join(fields.values()), fields=fields)


def known(error: Exception) -> CareError:
    """Any error as one of ours; what nobody foresaw is `server_error`. Nobody at all is 401 over HTTP."""
    if isinstance(error, HTTPException):
        return from_http(error)
    if not isinstance(error, CareError):
        return CareError(Code.SERVER_ERROR)
    if error.code is Code.PERMISSION_DENIED and error.reason == "identity":
        return CareError(Code.UNAUTHENTICATED)
    return error


def body(error: CareError, request_id: str) -> bytes:
    """The error body of contract.md: words, code, reference, and what else helps the caller."""
    extras = {name: str(value) if isinstance(value, UUID) else value for name, value in error.extras.items()}
    reason = {"reason": error.reason} if error.reason else {}
    return msgspec.json.encode(
        {"error": error.message, "code": error.code, "request_id": request_id, **reason, **extras}
    )


def headers(error: CareError, original: Exception) -> dict[str, str]:
    """The headers that go with an error."""
    found: dict[str, str] = {}
    if error.code in {Code.RATE_LIMITED, Code.UNAVAILABLE}:
        found["Retry-After"] = str(error.extras.get("retry_after", 1))
    if error.code is Code.UNAUTHENTICATED:
        found["WWW-Authenticate"] = "Bearer"
    if isinstance(original, MethodNotAllowedException) and original.headers:
        found.update(original.headers)
    return found


def log_fault(request: Request[Any, Any, Any], error: CareError, original: Exception) -> None:
    """Writes a fault to the log under its reference. A refusal is no fault."""
    if error.status >= 500:
        log.error(
            "web.fault",
            code=str(error.code),
            path=request.scope["path"],
            request_id=request.scope["state"]["request_id"],
            trace=trace(original),
        )


def answer(request: Request[Any, Any, Any], original: Exception) -> Response[bytes]:
    """Exception handler of the API."""
    error = known(original)
    request_id = request.scope["state"]["request_id"]
    log_fault(request, error, original)
    return Response(
        body(error, request_id),
        status_code=error.status,
        headers=headers(error, original),
        media_type="application/json",
    )


def answer_client(request: Request[Any, Any, Any], original: Exception) -> Response[bytes]:
    """Exception handler of the door for Supabase's clients."""
    if isinstance(original, postgrest.Problem):
        found = {"WWW-Authenticate": "Bearer"} if original.status == 401 else {}
        return postgrest.response(original.encoded(), status=original.status, headers=found)
    error = known(original)
    log_fault(request, error, original)
    scope = request.scope
    request_id = scope["state"]["request_id"]
    problem = postgrest.of(error, method=scope["method"], path=scope["path"], request_id=request_id)
    return postgrest.response(problem.encoded(), status=problem.status, headers=headers(error, original))


def is_for_programs(path: str) -> bool:
    """Whether a path is one that programs call, so that its refusals are no pages."""
    return f"{path}/".startswith((*_PROGRAMS, postgrest.ROOT))


def answer_page(request: Request[Any, Any, Any], original: Exception) -> Response[Any]:
    """Exception handler of everything: a page for people, JSON under the programs' paths."""
    path = request.scope["path"]
    if f"{path}/".startswith(postgrest.ROOT):
        return answer_client(request, original)
    if f"{path}/".startswith(_PROGRAMS):
        return answer(request, original)
    error = known(original)
    if error.code is Code.UNAUTHENTICATED and request.scope["method"] == "GET":
        query = request.scope["query_string"].decode("latin-1")
        wanted = f"{path}?{query}" if query else path
        return Redirect(f"/sign-in?next={quote(wanted, safe='/')}", status_code=303)
    log_fault(request, error, original)
    page = rendering.error_page(
        request,
        status=error.status,
        words=error.message,
        code=str(error.code),
        retry_after=error.extras.get("retry_after"),
    )
    page.headers.update(headers(error, original))
    return page


def trace(original: BaseException) -> str | None:
    """Where a fault came from: each error's type, SQLSTATE and frames, without its words and the frames' variables.

    Those can hold what a member wrote, a password or a token (rule 20), which is why the log gets no `exc_info`: its
    renderers print variables. Of a database that is merely away for a moment only what it said.
    """
    if isinstance(original, CareError) and original.code is Code.UNAVAILABLE:
        return None if original.__cause__ is None else _kind(original.__cause__)
    lines: list[str] = []
    error: BaseException | None = original
    while error is not None and len(lines) < _LONGEST_TRACE:
        lines.append(_kind(error))
        lines += [f"  {f.filename}:{f.lineno} in {f.name}" for f in traceback.extract_tb(error.__traceback__)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(lines[:_LONGEST_TRACE])


def _kind(error: BaseException) -> str:
    """An error's type and SQLSTATE."""
    state = getattr(error, "sqlstate", None)
    return f"{type(error).__module__}.{type(error).__qualname__}{f' [{state}]' if state else ''}"
