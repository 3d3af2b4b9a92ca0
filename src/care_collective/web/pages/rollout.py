"""The operators' page of the rollout: how it stands, what to do next, the numbers, and the switch on second thoughts.

Who may, the function says, and audits it. Nothing here advances a stage: a person does.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.response import Redirect

from care_collective import text
from care_collective.errors import CareError, Code
from care_collective.rollout import criteria, kpis, switch
from care_collective.rollout.kpis import Kpis, declaring
from care_collective.rollout.policy import OFF
from care_collective.web import security
from care_collective.web.pages import charts, forms
from care_collective.web.pages.language import mark as _
from care_collective.web.pages.rendering import AnyRequest, page, require_member
from care_collective.web.pages.standing import concerns, standing

PATH: Final = "/operator/rollout"
WHYS: Final = ("errors", "data-loss", "security", "complaints", "other")
NOTICES: Final = frozenset({"stopped", "resumed", "moved"})
_STAGES: Final = tuple(str(stage) for stage in criteria.FORWARD)
_SHOWN_CHANGES: Final = 10


class Verb(msgspec.Struct, frozen=True):
    """A change: what the function calls it, the field beside the reason with its choices, the notice at the end."""

    action: str
    field: str
    choices: tuple[str, ...]
    done: str


_VERBS: Final = {
    "stop": Verb("kill", "why", WHYS, "stopped"),
    "go-on": Verb("resume", "stage", _STAGES, "resumed"),
    "move": Verb("set", "stage", _STAGES, "moved"),
}


@get(PATH)
async def see(request: AnyRequest) -> Response[str]:
    """How the rollout stands, with every form that may be used now."""
    return await _page(request, done=forms.notice_of(request, NOTICES))


@get(f"{PATH}/live")
async def live(request: AnyRequest) -> Response[str]:
    """The parts of the page that change by themselves, for its script."""
    return await _page(request, template="operator/_live.html")


async def _page(
    request: AnyRequest,
    *,
    template: str = "operator/rollout.html",
    status: int = 200,
    **context: Any,  # noqa: ANN401
) -> Response[str]:
    member = await require_member(request)
    found = await kpis.see(security.services(request).database, request.user)
    shown: dict[str, Any] = {"verb": None, "form": {}, "errors": {}, "done": "", **context}
    answer = await page(
        request, template, member=member, status=status, found=found, keys=_keys(request), **_drawn(found), **shown
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _keys(request: AnyRequest) -> dict[str, str]:
    return {verb: forms.new_key(request) for verb in _VERBS}


def _drawn(found: Kpis) -> dict[str, Any]:
    stage = kpis.in_force(found.rollout) or OFF
    goal = criteria.goal(stage)
    return {
        "standing": standing(found),
        "concerns": concerns(found),
        "declaring": declaring(found.rollout),
        "changes": found.rollout.changes[:_SHOWN_CHANGES],
        "goal": goal,
        "days": (days := charts.days(found)),
        "columns": charts.columns(days),
        "success": charts.success(found, goal),
        "latency": charts.latency(found, criteria.SLOWEST_MS),
        "level": None if found.guard.level is None else charts.level(found.guard.level, found.guard.trip_level),
        "calm": charts.level(found.guard.calm_level, found.guard.trip_level),
        "stages": _STAGES,
        "whys": WHYS,
    }


@get(f"{PATH}/move")
async def move_form(request: AnyRequest) -> Response[str]:
    """The form to move to another stage, with what this one is missing."""
    return await _page(request, template="operator/move.html")


@post([f"{PATH}/{verb}" for verb in _VERBS])
async def change(request: AnyRequest) -> Response[Any]:
    """Asks whether somebody is sure, and does it where they are: stop, go on, or move to another stage."""
    name = request.scope["path"].rpartition("/")[2]
    verb = _VERBS[name]
    form = await forms.sent(request, verb.field, "reason", "sure")
    try:
        _member, caller = await forms.author(request, form)
        _check(verb, form)
        if form["sure"] != "yes":
            shown = forms.kept(request, form, _NOT_YET)
            return await _page(request, template="operator/confirm.html", verb=name, form=shown)
        arguments = {verb.field: form[verb.field], "reason": form["reason"]}
        database = security.services(request).database
        (await switch.operate(database, caller, verb.action, arguments)).success()
    except CareError as error:
        return await _again(request, name, form, error)
    return forms.see_other(f"{PATH}?done={verb.done}")


_NOT_YET: Final = CareError(Code.VALIDATION_ERROR)  # nothing was sent, so that the form's key still holds


def _check(verb: Verb, form: Mapping[str, str]) -> None:
    """Refuses before anybody is asked whether they are sure; the function judges again."""
    fields = {}
    if form[verb.field] not in verb.choices:
        fields[verb.field] = _("Choose one of these.")
    said = text.check(form["reason"], *text.CHANGE_REASON)
    if said is not None:
        fields["reason"] = said
    if fields:
        raise CareError(Code.VALIDATION_ERROR, fields=fields)


async def _again(request: AnyRequest, verb: str, form: dict[str, str], error: CareError) -> Response[Any]:
    """The page as it stands now, with the refusal and what was typed."""
    if error.code is Code.UNAUTHENTICATED:
        return await forms.sign_in_again(request, form, PATH)
    if error.code is Code.PERMISSION_DENIED and error.reason != "csrf":
        raise error
    template = "operator/move.html" if verb == "move" else "operator/rollout.html"
    again = await _page(
        request,
        template=template,
        status=error.status,
        verb=verb,
        form=forms.kept(request, form, error),
        errors=_errors(verb, error),
    )
    return forms.with_error(request, again, error)


_CONFLICTS: Final = {
    "stop": _("V2 was stopped already, so nothing was changed. This page says by whom and why."),
    "go-on": _("V2 is not stopped any more, so nothing was changed. Look at how it stands now."),
    "move": _("That is not possible as it stands now, and nothing was changed. Look at the top of this page."),
}


def _errors(verb: str, error: CareError) -> dict[str, str]:
    return {"form": _CONFLICTS[verb]} if error.code is Code.CONFLICT else forms.fields_of(error)


@get([f"{PATH}/stop", f"{PATH}/go-on"])
async def back() -> Redirect:
    """A form's own address, opened or reloaded after a refusal, leads to the page."""
    return forms.see_other(PATH)


router = Router("/", include_in_schema=False, route_handlers=[see, live, move_form, change, back])
