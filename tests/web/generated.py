"""Requests that schemathesis makes of the description, sent by every kind of person, and what each answer must hold."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import msgspec
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case as AnyCase
from schemathesis import GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from care_collective.operations import catalogue
from care_collective.web.description import document
from web.calls import LEAKS
from web_harness import PASSWORD, Client, fresh_email

Operation = APIOperation[Any, Any, Any, Any]
Case = AnyCase[Any]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Of a body on the way to the database: what is named here is in no answer.
NAMES = frozenset(
    [
        *(t.name for t in catalogue.declared() if isinstance(t, catalogue.Relation)),
        *(
            t.name.rpartition(".")[2]
            for t in catalogue.declared()
            if isinstance(t, catalogue.Constraint | catalogue.Index)
        ),
        *("Traceback", "asyncpg", "site-packages", ".py", "SQLSTATE", "syntax error at"),
    ]
)


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of person: the client that calls as them, who they are, and a conversation and request of their own."""

    name: str
    client: Client
    user_id: UUID | None
    requests: tuple[str, ...] = ()
    conversations: tuple[str, ...] = ()
    may_act: bool = True
    email: str = ""


class Found(msgspec.Struct):
    """What a run counted and found. A finding is kept once an operation, with the request that showed it."""

    sent: Counter[str] = msgspec.field(default_factory=Counter)
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    findings: dict[tuple[str, str], str] = {}

    def add(
        self, case: Case, role: Role, title: str, request: requests.PreparedRequest, answer: httpx.Response
    ) -> None:
        """Keeps a finding."""
        shown = f"{role.name}: {request.method} {request.url} {request.body!r:.300} -> {answer.status_code}"
        key = (case.operation.label, title.splitlines()[0])
        self.findings.setdefault(key, f"{title}\n  {shown} {answer.text[:300]}")


def strict() -> dict[str, Any]:
    """The description with every answer closed: a member that it does not name is a finding."""
    made: dict[str, Any] = json.loads(document())
    shapes = made["components"]["schemas"]
    answered = {
        name
        for path in made["paths"].values()
        for operation in path.values()
        for name in _names(operation["responses"], shapes)
    } | set(_names(made["components"]["responses"], shapes))
    for name in answered:
        if shapes[name].get("type") == "object":
            shapes[name]["additionalProperties"] = False
    return made


def _names(value: object, shapes: dict[str, Any]) -> set[str]:
    """The shapes that are referred to, and those that they refer to."""
    found = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(value)))
    return found.union(*(_names(shapes[name], shapes) for name in found)) if found else found


def operations(described: dict[str, Any]) -> list[Operation]:
    """Every operation but the streams: they have no end, and have tests of their own."""
    found = [cast(Any, result).ok() for result in schemathesis.openapi.from_dict(described).get_all_operations()]
    return [one for one in found if "text/event-stream" not in json.dumps(one.definition.raw["responses"])]


def cases(operation: Operation, mode: GenerationMode, count: int, number: int) -> list[Case]:
    """Cases of one operation, the same in every run of the same number."""
    found: list[Case] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def draw(case: Case) -> None:
        found.append(case)

    with suppress(Unsatisfiable):  # nothing of the operation can be wrong
        draw()
    return found


def _own(role: Role, name: str, value: Any, chance: Random) -> Any:  # noqa: ANN401  anything JSON has
    """A generated value, or in the place of a valid id one that there is: nobody hits an id by chance."""
    try:
        UUID(value if isinstance(value, str) else "")
    except ValueError:
        return value
    known: tuple[str, ...] = ()
    if "request" in name:
        known = role.requests
    elif "conversation" in name:
        known = role.conversations
    elif name.startswith("p_") and role.user_id is not None:
        known = (str(role.user_id),)
    return chance.choice(known) if known and chance.random() < 0.8 else value


def _body(role: Role, body: Any, chance: Random, *, good: bool) -> Any:  # noqa: ANN401
    if not isinstance(body, dict):
        return body
    made = {name: _own(role, name, value, chance) for name, value in body.items()}
    if good and isinstance(made.get("email"), str) and isinstance(made.get("password"), str) and chance.random() < 0.3:
        known = "display_name" not in made
        made |= {"email": role.email if known and role.email else fresh_email(), "password": PASSWORD}
    return made


def prepared(case: Case, role: Role, chance: Random) -> requests.PreparedRequest | None:
    """The request of a case as this person sends it, or None for what no client could write."""
    made = case.as_transport_kwargs(base_url=str(role.client.base_url))
    for name, value in case.path_parameters.items():
        made["url"] = made["url"].replace(str(value), str(_own(role, name, value, chance)))
    if "json" in made:
        good = case.meta is not None and case.meta.generation.mode.is_positive
        made["json"] = _body(role, made["json"], chance, good=good)
    headers = {
        name: value.encode("utf-8", "replace") if isinstance(value, str) else value
        for name, value in made.pop("headers").items()
        if not name.lower().startswith(("x-schemathesis", "user-agent", "connection", "accept-encoding"))
    }
    try:
        request = requests.Request(**made).prepare()
    except (ValueError, requests.RequestException):
        return None
    request.headers.update(headers)
    return request


async def ask(role: Role, request: requests.PreparedRequest) -> httpx.Response:
    """Sends a request with what says who calls; nobody's keeps whatever was generated for that."""
    said = {name.lower(): value for name, value in role.client.headers.items() if name.lower() in SAID}
    headers = [
        (name.encode("latin-1", "replace"), value if isinstance(value, bytes) else value.encode("latin-1", "replace"))
        for name, value in request.headers.items()
        if name.lower() not in {"content-length", *(SAID if said or role.client.cookies else ())}
    ]
    headers += [(name.encode(), value.encode()) for name, value in said.items()]
    body = request.body.encode() if isinstance(request.body, str) else cast("bytes | None", request.body)
    answer = await role.client.request(request.method or "GET", request.url or "", headers=headers, content=body)
    if "x-csrf-token" not in said:
        role.client.cookies.clear()  # nobody stays nobody after a sign-in that succeeded
    return answer


DOORS = frozenset({"nobody", "expired", "browser", "participant", "operator"})
SAID = frozenset({"authorization", "apikey", "cookie", "x-csrf-token"})


def judged(case: Case, role: Role, request: requests.PreparedRequest, answer: httpx.Response, found: Found) -> None:
    """Holds an answer against the description and against what no answer may say."""
    found.sent[role.name] += 1
    found.statuses[answer.status_code] += 1
    response = Response(
        status_code=answer.status_code,
        headers={name: [value] for name, value in answer.headers.items()},
        content=answer.content,
        request=request,
        elapsed=0.0,
        verify=False,
        encoding="utf-8",
    )
    checks = [*CHECKS, negative_data_rejection] if rejects(case, request) else CHECKS
    try:
        case.validate_response(response, checks=checks)
    except FailureGroup as group:
        for failure in group.exceptions:
            found.add(case, role, f"{type(failure).__name__}: {failure}", request, answer)
    except Failure as failure:
        found.add(case, role, f"{type(failure).__name__}: {failure}", request, answer)
    sent, said = f"{request.url} {request.headers} {request.body!r}", answer.text
    leaks = [name for name in NAMES if name in said and name not in sent]
    if answer.status_code >= 400 and case.path.startswith("/api/"):
        leaks += [match[0] for match in LEAKS.finditer(answer.json().get("error", "")) if match[0] not in sent]
    if leaks:
        found.add(case, role, f"Leak: {leaks}", request, answer)
    if not role.may_act and answer.status_code < 300 and "security" not in case.operation.definition.raw:
        found.add(case, role, "Served: somebody who may not be", request, answer)


def rejects(case: Case, request: requests.PreparedRequest) -> bool:
    """Whether a case that breaks the description has to be refused.

    Not under /rest/v1/rpc: there a value is read as PostgreSQL reads its text, and a refusal is a value. Not a text
    that is too long: it may be only before it is trimmed (contract.md, text).
    """
    if not case.path.startswith("/api/") or case.meta is None:
        return False
    broken = (case.meta.phase.data.description or "").splitlines()
    long = [line for line in broken if "`maxLength`" in line and "Idempotency-Key" not in line]
    return len(long) < len(broken)


async def explored(
    found: Found, roles: Callable[[], Awaitable[list[Role]]], *, count: int, fresh_after: int, number: int = 0
) -> None:
    """Sends `count` good and `count` bad cases of every operation as every role; new ids after each few operations.

    A single bad case is sent by one of each door: whether a member is restricted changes nothing in how it is read.
    """
    chance = Random(number)
    people: list[Role] = []
    for place, operation in enumerate(operations(strict())):
        if place % fresh_after == 0:
            people = await roles()
        # Who calls is not asked there, and each is a password to hash.
        alone = operation.definition.raw.get("security") == []
        asking = [role for role in people if not alone or role.name in {"nobody", "participant"}]
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            few = mode.is_negative and count == 1
            for case in await asyncio.to_thread(cases, operation, mode, count, number):
                sent = (_once(case, role, chance, found) for role in asking if not few or role.name in DOORS)
                await asyncio.gather(*sent)


async def _once(case: Case, role: Role, chance: Random, found: Found) -> None:
    request = prepared(case, role, chance)
    if request is not None:
        judged(case, role, request, await ask(role, request), found)


def other_methods(described: dict[str, Any]) -> list[tuple[str, str]]:
    """Every path with every method that it does not have."""
    return [
        (re.sub(r"{\w+}", str(uuid4()), path), method)
        for path, methods in described["paths"].items()
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND")
        if method.lower() not in methods
    ]
