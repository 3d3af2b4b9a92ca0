"""Every endpoint under /api as tests call it, on a stage where each call would succeed."""

import json
import re
from typing import Any
from uuid import UUID

import httpx
import msgspec

from harness import Person, Town
from web_harness import PASSWORD, MakeClient, of, start

# The verbs whose decision needs no reason: it is read and not used.
REASONLESS = ("accept-offer", "step-back", "release-helper")
LEAKS = re.compile(
    r"select |insert |update |relation|constraint|_check|_fkey|_pkey|care\.|public\.|pg_|asyncpg|msgspec|litestar"
    r"|Traceback|Error\b|Exception|NoneType|\bstr\b|\bint\b|Struct|\$\.|\$\d|p_[a-z]+|sqlstate|/src/|\.py",
    re.IGNORECASE,
)
TABLES = (
    "public.help_requests",
    "public.conversations",
    "public.conversation_participants",
    "public.messages",
    "public.conversations_v2",
    "public.messages_v2",
    "public.conversation_members",
    "public.user_blocks",
    "public.profiles",
    "care.outbox",
    "care.idempotency_keys",
    "care.rate_counters",
    "care.problem_reports",
)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint as tests call it: its place in the description, who calls, where, and with what."""

    template: str
    method: str = "POST"
    path: str
    who: Person | None
    body: dict[str, Any] | None = None
    query: tuple[str, ...] = ()
    keyed: bool = True


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A town with one offer made, and another to be made."""

    town: Town
    owner: Person
    helper: Person
    stranger: Person
    operator: Person
    request: UUID
    fresh: UUID
    conversation: str
    applicant: Person
    notification: str  # that the owner was told of the offer


async def staged(town: Town, client: MakeClient) -> Stage:
    """Sets a stage in the engine of the client's node."""
    owner, helper, stranger = await town.member("Olga"), await town.member("Hal"), await town.member("Sam")
    operator, applicant = await town.member("Otto", coordinator=True), await town.member("Nia", status="pending")
    await town.care.owner.execute("insert into care.operators values ($1, 'a test')", operator.user_id)
    request, fresh = await town.request(owner), await town.request(owner, title="A ride on Monday")
    opened = await client(helper).post(start(request), json={"initial_message": "I can come by on Friday at ten."})
    (told,) = (await client(owner).get("/api/notifications")).json()["notifications"]
    return Stage(
        applicant=applicant,
        notification=told["id"],
        town=town,
        owner=owner,
        helper=helper,
        stranger=stranger,
        operator=operator,
        request=request,
        fresh=fresh,
        conversation=opened.json()["conversation_id"],
    )


def calls(stage: Stage) -> list[Call]:
    """Every endpoint under /api that is offered, each with a call that would succeed on the stage."""
    owner, helper = stage.owner, stage.helper
    messaging, requests, told = "/api/messaging", "/api/requests", "/api/notifications"
    thread, one = f"{messaging}/conversations/{{conversation_id}}", f"{requests}/{{help_request_id}}"
    offers = f"{messaging}/help-requests/{{help_request_id}}"
    ask = {
        "title": "Help with a form",
        "category": "other",
        "description": "It is long.",
        "urgency": "normal",
        "exchange_offer": "Soup",
    }
    decision = {"conversation_id": stage.conversation, "reason": "Thank you, we found somebody."}
    problem = {
        "help_request_id": str(stage.request),
        "code": "unavailable",
        "reference": "0123456789abcdef",
        "words": "It did not open.",
    }
    join = {
        "email": "new@example.org",
        "password": PASSWORD,
        "display_name": "Nia",
        "town": "Linden",
        "application_words": "Olga told me.",
    }
    return [
        Call(
            template=f"{offers}/start-conversation",
            path=start(stage.fresh),
            who=helper,
            body={"initial_message": "I can drive you on Monday."},
        ),
        Call(
            template=f"{offers}/conversations",
            method="GET",
            path=f"{messaging}/help-requests/{stage.request}/conversations",
            who=owner,
            query=("cursor", "limit"),
        ),
        Call(
            template=f"{messaging}/conversations",
            method="GET",
            path=f"{messaging}/conversations",
            who=owner,
            query=("cursor", "limit", "filter", "search"),
        ),
        Call(
            template=f"{thread}/messages",
            method="GET",
            path=of(stage.conversation),
            who=owner,
            query=("before", "after", "limit"),
        ),
        Call(template=f"{thread}/messages", path=of(stage.conversation), who=owner, body={"content": "Thank you!"}),
        Call(template=f"{thread}/read", path=of(stage.conversation, "read"), who=owner, body={"seq": 0}),
        Call(
            template=f"{messaging}/stream",
            method="GET",
            path=f"{messaging}/stream",
            who=owner,
            query=("conversation", "after"),
        ),
        Call(template=f"{messaging}/accept-offer", path=f"{messaging}/accept-offer", who=owner, body=decision),
        Call(template=f"{messaging}/step-back", path=f"{messaging}/step-back", who=helper, body=decision),
        Call(template=f"{messaging}/release-helper", path=f"{messaging}/release-helper", who=owner, body=decision),
        Call(template=f"{messaging}/reject-offer", path=f"{messaging}/reject-offer", who=owner, body=decision),
        Call(template=f"{thread}/close", path=of(stage.conversation, "close"), who=helper),
        Call(template=f"{thread}/reopen", path=of(stage.conversation, "reopen"), who=helper),
        Call(template=f"{thread}/mute", path=of(stage.conversation, "mute"), who=owner, body={"until": None}),
        Call(template=f"{thread}/archive", path=of(stage.conversation, "archive"), who=owner, body={"archived": False}),
        Call(template="/api/blocks", method="GET", path="/api/blocks", who=owner),
        Call(template="/api/blocks/{user_id}", path=f"/api/blocks/{stage.helper.user_id}", who=owner),
        Call(template="/api/blocks/{user_id}", method="DELETE", path=f"/api/blocks/{stage.helper.user_id}", who=owner),
        Call(template="/api/problems", path="/api/problems", who=helper, body=problem),
        Call(template=told, method="GET", path=told, who=owner, query=("cursor", "limit", "filter")),
        Call(template=f"{told}/unread-count", method="GET", path=f"{told}/unread-count", who=owner),
        Call(template=f"{told}/{{notification_id}}/read", path=f"{told}/{stage.notification}/read", who=owner),
        Call(template=f"{told}/read-all", path=f"{told}/read-all", who=owner),
        Call(template=requests, path=requests, who=owner, body=ask),
        Call(
            template=requests,
            method="GET",
            path=requests,
            who=owner,
            query=("cursor", "limit", "status", "category", "urgency", "search", "mine"),
        ),
        Call(template=one, method="GET", path=f"{requests}/{stage.request}", who=helper),
        Call(template=one, method="PUT", path=f"{requests}/{stage.request}", who=owner, body=ask),
        Call(template=f"{one}/cancel", path=f"{requests}/{stage.request}/cancel", who=owner, body={"reason": "Done."}),
        Call(template=f"{one}/complete", path=f"{requests}/{stage.request}/complete", who=owner),
        Call(template=f"{one}/reopen", path=f"{requests}/{stage.request}/reopen", who=owner),
        Call(template="/api/auth/sign-up", path="/api/auth/sign-up", who=None, body=join, keyed=False),
        Call(
            template="/api/auth/sign-in",
            path="/api/auth/sign-in",
            who=None,
            body={"email": "new@example.org", "password": PASSWORD},
            keyed=False,
        ),
        Call(template="/api/auth/sign-out", path="/api/auth/sign-out", who=helper, keyed=False),
        Call(template="/api/auth/me", method="GET", path="/api/auth/me", who=helper),
        Call(template="/api/me/export", method="GET", path="/api/me/export", who=helper),
        Call(
            template="/api/me",
            method="DELETE",
            path="/api/me",
            who=stage.stranger,
            body={"confirm": "delete"},
            keyed=False,
        ),
        Call(template="/api/features", method="GET", path="/api/features", who=helper),
        *_chosen(stage.helper),
        *_applications(stage),
        *_rollout(stage.operator),
        Call(template="/api/health", method="GET", path="/api/health", who=None),
        Call(template="/api/health/live", method="GET", path="/api/health/live", who=None),
        Call(template="/api/health/ready", method="GET", path="/api/health/ready", who=None),
    ]


def _chosen(member: Person) -> list[Call]:
    """What members choose of their own."""
    preferences, profile = "/api/messaging/preferences", "/api/me/profile"
    push = "/api/messaging/push"
    browser = {"endpoint": "https://push.example/one", "p256dh": f"B{'A' * 86}", "auth": "A" * 22}
    choices = {
        "email": "daily",
        "quiet_from": "22:00",
        "quiet_to": "07:00",
        "offers_paused": False,
        "locale": "es",
        "time_zone": "Europe/Lisbon",
    }
    return [
        Call(template=preferences, method="GET", path=preferences, who=member),
        Call(template=preferences, method="PUT", path=preferences, who=member, body=choices),
        Call(template=push, method="GET", path=push, who=member),
        Call(template=push, path=push, who=member, body=browser),
        Call(template=push, method="DELETE", path=push, who=member, body={"endpoint": "https://push.example/one"}),
        Call(template=profile, method="GET", path=profile, who=member),
        Call(template=profile, method="PUT", path=profile, who=member, body={"display_name": "Hal", "town": "Linden"}),
    ]


def _applications(stage: Stage) -> list[Call]:
    """The coordinators' endpoints."""
    list_, who = "/api/admin/applications", stage.operator
    return [
        Call(template=list_, method="GET", path=list_, who=who, query=("cursor", "limit", "waiting")),
        *(
            Call(
                template=f"{list_}/{{applicant_id}}/{verb}",
                path=f"{list_}/{stage.applicant.user_id}/{verb}",
                who=who,
                body={"reason": "We have met."},
            )
            for verb in ("approve", "reject")
        ),
    ]


def _rollout(operator: Person) -> list[Call]:
    """The operators' endpoints. Nothing may call them as they stand: a flag is the whole database's."""
    rollout, reason = "/api/ops/rollout", {"reason": "A test of ours."}
    bodies = {
        "set": {"stage": "percentage:0.01", **reason},
        "kill": {"why": "other", **reason},
        "resume": reason,
        "cohort": {"action": "add", "email": "nobody@example.org", **reason},
    }
    changes = [
        Call(template=f"{rollout}/{verb}", path=f"{rollout}/{verb}", who=operator, body=body)
        for verb, body in bodies.items()
    ]
    kpis = "/api/ops/kpis"
    return [
        Call(template=rollout, method="GET", path=rollout, who=operator),
        Call(template=kpis, method="GET", path=kpis, who=operator, query=("exact",)),
        *changes,
    ]


async def contents(stage: Stage) -> dict[str, Any]:
    """How many rows each table holds for this town, and what the conversation and its request are in."""
    found: dict[str, Any] = {table: await stage.town.count(table) for table in TABLES}
    found["status"] = await stage.town.care.owner.fetchval(
        "select status from public.help_requests where id = $1", stage.request
    )
    return found


def refused(answer: httpx.Response, case: object, status: int = 400, code: str = "validation_error") -> dict[str, Any]:
    """The body of a refusal, held against everything that holds for every one."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), (case, answer.status_code, body)
    assert body["request_id"] == answer.headers["x-request-id"], case
    assert re.match(r"[A-Z].*[.!…]$", body["error"], re.DOTALL), (case, body)
    said = json.dumps([body["error"], list(body.get("fields", {}).values())])
    assert not LEAKS.search(said), (case, said)
    return body
