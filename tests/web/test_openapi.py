"""The description of the API: whole, sound in itself, and honest about what can go wrong."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from care_collective.errors import STATUS, Code
from web_harness import MakeClient

REFERENCE = "#/components/schemas/"
OPEN = {"/api/health", "/api/health/live", "/api/health/ready"}


@pytest.fixture
def engine() -> str:
    """The description knows no engine: one is enough."""
    return "v2"


@pytest.fixture
async def document(client: MakeClient) -> dict[str, Any]:
    """The description as it is served."""
    answer = await client(None).get("/schema/openapi.json")
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for member in value.values():
            yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


def schema_of(answer: dict[str, Any]) -> Any:  # noqa: ANN401
    return answer["content"]["application/json"]["schema"]


async def test_the_document_is_sound_in_itself(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "Care Collective"
    schemas = document["components"]["schemas"]
    used = list(references(document))
    assert {name.removeprefix(REFERENCE) for name in used if name.startswith(REFERENCE)} <= set(schemas)
    assert all(name.startswith(REFERENCE) for name in used)
    identities = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(identities) == len(set(identities)) > 20
    for path, _, operation in operations(document):
        named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))


async def test_every_operation_says_what_it_does_and_belongs_to_a_room(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert operation.get("description"), (path, method)
        assert operation.get("tags"), (path, method)


async def test_every_operation_declares_its_success_and_its_errors(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        answers = operation["responses"]
        done = [status for status in answers if status.startswith("2")]
        assert len(done) == 1, (path, method, list(answers))
        assert list(references(schema_of(answers[done[0]]))), (path, method)
        if path in OPEN:
            continue
        expected = {400, 401, 403, 429, 500, 503} | ({409, 413, 415, 422} if "/auth/" not in path else set())
        if method == "get":
            expected -= {409, 413, 415, 422}
        assert expected <= {int(status) for status in answers}, (path, method)
        for status, answer in answers.items():
            if int(status) >= 400:
                assert schema_of(answer)["$ref"] == f"{REFERENCE}Error", (path, status)
                codes = answer["description"].split(" or ")
                assert {STATUS[Code(code)] for code in codes} == {int(status)}


async def test_bodies_are_described_with_their_fields(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    bodies = {}
    for path, method, operation in operations(document):
        if "requestBody" in operation:
            [name] = references(schema_of(operation["requestBody"]))
            bodies[path, method] = set(schemas[name.removeprefix(REFERENCE)]["properties"])
    start = "/api/messaging/help-requests/{help_request_id}/start-conversation"
    assert bodies[start, "post"] == {"initial_message"}
    assert bodies["/api/requests", "post"] >= {"title", "category", "description", "urgency", "exchange_offer"}
    assert bodies["/api/requests/{help_request_id}/cancel", "post"] == {"reason"}
    assert {"code", "error", "request_id", "fields", "reason"} <= set(schemas["Error"]["properties"])
