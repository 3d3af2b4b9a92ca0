"""Forms as people send them: what was typed, that it is theirs to send, once, and kept when it could not be sent."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
from litestar import Response
from litestar.response import Redirect

from care_collective import text
from care_collective.db.call import Caller
from care_collective.errors import CareError, Code
from care_collective.web import security
from care_collective.web.errors import log_fault
from care_collective.web.pages.language import mark as _
from care_collective.web.pages.rendering import TYPED, AnyRequest, Member, page, require_member

# Makes a page again of the request and, by name, status, form and errors.
Shown = Callable[..., Awaitable[Response[str]]]
_LONGEST_PATH: Final = 2000
_KEY: Final = "key"
# The reason of a refusal: the form is not of who is signed in now.
ANOTHER: Final = "another"
_STALE: Final = _("This page had been open for too long. Your text is kept: please send it again.")
_ANOTHER: Final = _(
    "Somebody else has signed in here since this page was opened. "
    "Go back to copy what you wrote, then sign in as yourself."
)
# Far beyond what a member's own limits take; a form is no larger than its request.
_LONGEST_KEPT: Final = 60_000


def safe_path(path: str) -> str:
    """A path of this site to go on to, or the home page for anything that could lead elsewhere."""
    # Browsers read a backslash as a slash and drop control characters: both make //host out of what looks like a path.
    if len(path) <= _LONGEST_PATH and re.match("/(?!/)", path) and path.isprintable() and "\\" not in path:
        return path
    return "/"


def new_key(request: AnyRequest) -> str:
    """The idempotency key that a form carries: a second tap or a reload sends the same one (contract.md).

    It begins with whose form it is: in a browser that several people use, nobody sends what another typed.
    """
    caller = request.scope.get("user")  # none before the page has asked who that is
    return f"{caller.user_id}.{uuid4()}" if caller and caller.user_id else str(uuid4())


def is_anothers(key: str, user_id: UUID | None) -> bool:
    """Whether a form's key says that the form is another member's; a key of no such kind says nothing."""
    author, dot, _ = key.partition(".")
    return bool(dot) and author != str(user_id)


async def read(request: AnyRequest, *names: str) -> dict[str, str]:
    """The named fields of a posted form, '' where absent; browsers send a line break as two characters."""
    posted = await request.form()
    values = {name: posted.get(name) for name in names}
    return {name: value.replace("\r\n", "\n") if isinstance(value, str) else "" for name, value in values.items()}


async def sent(request: AnyRequest, *names: str) -> dict[str, str]:
    """The named fields of a member's form, with its key and its token. Errors: CareError for another site's form.

    Read before anything is asked of the database, so that the words can be shown again where that is away.
    """
    security.check_origin(request)
    form = await read(request, *names, _KEY, security.CSRF_FIELD)
    request.scope["state"][TYPED] = form
    return form


async def author(request: AnyRequest, form: dict[str, str]) -> tuple[Member, Caller]:
    """Who sent a form, as a member and as the caller of one write under the form's key.

    Errors: CareError `unauthenticated` where the session has ended, `permission_denied` for another session's form and
    another member's, whose words are forgotten: no page shows them to who is signed in now.
    """
    member = await require_member(request)
    key = form[_KEY]
    if is_anothers(key, member.user_id):
        form.update(dict.fromkeys(form, ""))
        raise CareError(Code.PERMISSION_DENIED, reason=ANOTHER, message=_ANOTHER)
    security.check_csrf(request, form[security.CSRF_FIELD])
    usable = 1 <= len(key) <= security.LONGEST_KEY and key.strip() == key and key.isascii() and key.isprintable()
    return member, replace(request.user, idempotency_key=key if usable else None)


def see_other(path: str) -> Redirect:
    """Sends the browser on after a form, so that a reload sends nothing again."""
    return Redirect(path, status_code=303)


def notice_of(request: AnyRequest, known: frozenset[str]) -> str:
    """What has just been done, where the address that a form led to says so; '' for anything else."""
    done = request.query_params.get("done", "")
    return done if done in known else ""


def fields_of(error: CareError) -> dict[str, str]:
    """What to mend, by field; what belongs to none under the name form."""
    if error.reason == "csrf":
        return {"form": _STALE}  # the form is shown again with a token that holds
    return error.extras.get("fields") or {"form": error.message}


def kept(request: AnyRequest, form: Mapping[str, str], error: CareError) -> dict[str, str]:
    """A refused form to be shown again: what was typed, and a new key only where the old one is used up."""
    shown = {name: value for name, value in form.items() if name != security.CSRF_FIELD}
    if error.code is Code.IDEMPOTENCY_MISMATCH or not shown.get(_KEY):
        shown[_KEY] = new_key(request)
    return shown


def with_error(request: AnyRequest, answer: Response[Any], error: CareError) -> Response[Any]:
    """A page that shows a refusal or fault, logged and with the headers that go with it."""
    log_fault(request, error, error)
    if "retry_after" in error.extras:
        answer.headers["Retry-After"] = str(error.extras["retry_after"])
    return answer


async def refused(
    request: AnyRequest, error: CareError, form: Mapping[str, str], shown: Shown, *, back: str
) -> Response[Any]:
    """What answers a refused form: the page that `shown` makes again, with what was typed.

    Where the session has ended it is the sign-in form, which carries that along; with nothing typed it leads to `back`.
    """
    if error.code is Code.UNAUTHENTICATED:
        return await sign_in_again(request, form, back)
    again = await shown(request, status=error.status, form=kept(request, form, error), errors=fields_of(error))
    return with_error(request, again, error)


async def sign_in_again(request: AnyRequest, form: Mapping[str, str], back: str) -> Response[Any]:
    """The sign-in form in place of an answer to a form whose session has ended: it carries along what was typed.

    `back` is where it leads when nothing was typed. The key goes along: what was written before the session ended, and
    only its answer lost, is not written twice.
    """
    words = {name: value for name, value in form.items() if name != security.CSRF_FIELD and value}
    typed = bool(words.keys() - {_KEY})
    path = request.scope["path"] if typed else back
    return await page(
        request,
        "accounts/sign_in.html",
        member=None,
        status=401,
        form={},
        errors={},
        next_path=path,
        done="",
        kept_form=msgspec.json.encode(words).decode() if typed else "",
    )


def carried(value: str) -> dict[str, str]:
    """What a sign-in form carried along, by field; nothing where it carried nothing that can be read."""
    try:
        found = msgspec.json.decode(value[:_LONGEST_KEPT], type=dict[str, str])
    except msgspec.DecodeError:
        return {}
    return {name: words for name, words in found.items() if text.is_storable(words)}
