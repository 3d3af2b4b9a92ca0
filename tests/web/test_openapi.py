"""The description of the API: whole, sound in itself, and honest about what can go wrong."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from litestar import Litestar
from litestar.routes import HTTPRoute

from care_collective.cli import group
from care_collective.errors import STATUS, Code
from care_collective.web import functions, offered
from care_collective.web.edge import Edge
from care_collective.web.pages.reference import rendered
from care_collective.web.services import Services
from web_harness import MakeClient, application_of

REFERENCE = "#/components/schemas/"


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
    for reference in references(document):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in found, reference
            found = found[part]
    identities = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(identities) == len(set(identities)) > 40
    for path, _, operation in operations(document):
        named = {p["name"] for p in operation.get("parameters", []) if p.get("in") == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))


async def test_every_path_that_is_served_is_described(document: dict[str, Any], services: Services) -> None:
    edge = application_of(services)
    assert isinstance(edge, Edge)
    served = {
        (route.path_format, method.lower())
        for route in cast(Litestar, edge._app).routes
        if isinstance(route, HTTPRoute) and route.path_format.startswith("/api/")
        for method in route.methods - {"OPTIONS"}
    }
    served |= {(f"/rest/v1/rpc/{function}", "post") for function in offered.offered()}
    assert {(path, method) for path, method, _ in operations(document)} == served


async def test_every_offered_function_has_a_shape_and_a_like_handler(document: dict[str, Any]) -> None:
    assert set(functions.KNOWN) == set(offered.offered()), "enter the function in KNOWN of web/functions.py"
    handlers = {operation["operationId"] for _, _, operation in operations(document)}
    assert {like.handler for like in functions.KNOWN.values()} <= handlers
    # What the like handler limits, the function's argument is described with.
    create = document["paths"]["/rest/v1/rpc/create_conversation_atomic"]["post"]
    words = schema_of(create["requestBody"])["properties"]["p_initial_message"]
    assert (words["minLength"], words["maxLength"]) == (10, 1000)


async def test_every_operation_says_what_it_does_and_belongs_to_a_room(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert operation.get("description"), (path, method)
        assert operation.get("tags"), (path, method)


async def test_every_operation_declares_its_success_its_errors_and_their_headers(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        answers = operation["responses"]
        done = [status for status in answers if status.startswith("2")]
        assert len(done) == 1, (path, method, list(answers))
        if "application/json" in answers[done[0]]["content"]:
            assert list(references(schema_of(answers[done[0]]))), (path, method)
        if path.startswith("/rest/"):
            assert {"400", "401", "403", "404", "406", "413", "429", "500", "503"} == set(answers) - {"200"}
            continue
        assert {"429", "500"} <= set(answers), (path, method)
        if "requestBody" in operation:
            assert {"400", "413", "415"} <= set(answers), (path, method)
        if operation.get("security", True):
            assert {"401", "503"} <= set(answers), (path, method)
        if "{" in path:
            assert "404" in answers, (path, method)
        for status, answer in answers.items():
            assert "X-Request-Id" in answer["headers"], (path, method, status)
            if int(status) >= 400 and "code" in schema_of(answer).get("properties", {}):
                assert schema_of(answer)["$ref"] == f"{REFERENCE}Error", (path, status)
                codes = schema_of(answer)["properties"]["code"]["enum"]
                assert {STATUS[Code(code)] for code in codes} == {int(status)}
                assert ("Retry-After" in answer["headers"]) is (status in {"429", "503"}), (path, method, status)


async def test_every_write_that_takes_a_key_says_so(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        keyed = {"$ref": "#/components/parameters/IdempotencyKey"} in operation.get("parameters", [])
        [done] = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
        assert ("Idempotency-Replayed" in done["headers"]) is keyed, (path, method)
        if path.startswith("/api/"):
            # A deletion erases the keys, and its retry finds no member.
            keyless = path.startswith("/api/auth/") or (path, method) == ("/api/me", "delete")
            assert keyed is (method != "get" and not keyless), (path, method)


async def test_who_may_call_is_said(document: dict[str, Any]) -> None:
    assert document["security"] == [{"bearer": []}, {"session": []}]
    schemes = document["components"]["securitySchemes"]
    for path, method, operation in operations(document):
        for one in operation.get("security", []):
            assert set(one) <= set(schemes), (path, method)
    public = {path for path, _, operation in operations(document) if operation.get("security") == []}
    assert {"/api/auth/sign-up", "/api/auth/sign-in", "/api/health"} <= public
    assert "/api/auth/sign-out" not in public


async def test_bodies_are_described_with_their_fields_and_limits(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    bodies = {}
    for path, method, operation in operations(document):
        if "requestBody" in operation and path.startswith("/api/"):
            [name] = references(schema_of(operation["requestBody"]))
            bodies[path, method] = set(schemas[name.removeprefix(REFERENCE)]["properties"])
    start = "/api/messaging/help-requests/{help_request_id}/start-conversation"
    assert bodies[start, "post"] == {"initial_message"}
    assert bodies["/api/requests", "post"] >= {"title", "category", "description", "urgency", "exchange_offer"}
    assert bodies["/api/requests/{help_request_id}/cancel", "post"] == {"reason"}
    assert {"code", "error", "request_id", "fields", "reason"} <= set(schemas["Error"]["properties"])
    ask = schemas["Ask"]["properties"]
    assert (ask["title"]["minLength"], ask["title"]["maxLength"], ask["description"]["maxLength"]) == (5, 100, 1000)
    assert set(ask["urgency"]["enum"]) == {"normal", "urgent", "critical"}
    assert "groceries-meals" in ask["category"]["enum"]


async def test_the_command_prints_what_schema_answers(client: MakeClient, tmp_path: Path) -> None:
    served = (await client(None).get("/schema")).json()
    runner = CliRunner()
    assert json.loads(runner.invoke(group, ["openapi"]).stdout) == served
    file = tmp_path / "openapi.json"
    written = runner.invoke(group, ["openapi", "--output", str(file)])
    assert (written.exit_code, written.stdout, json.loads(file.read_text("utf-8"))) == (0, "", served)
    assert runner.invoke(group, ["openapi", "--output", str(tmp_path / "absent" / "a.json")]).exit_code == 1


async def test_the_page_for_people_shows_every_operation_and_every_shape(
    client: MakeClient, document: dict[str, Any]
) -> None:
    answer = await client(None).get("/docs/api")
    assert answer.headers["content-type"].startswith("text/html")
    for path, method, operation in operations(document):
        assert f"<code>{method.upper()} {path}</code>" in answer.text
        assert answer.text.count(f'id="{operation["operationId"]}"') == 1
    linked = set(re.findall(r'href="#(.+?)"', answer.text)) - {"main"}
    assert linked <= set(re.findall(r'id="(.+?)"', answer.text))
    for shown in ("one of critical, normal, urgent", "text, 10 to 1000 characters", "Needs a token or session.", "403"):
        assert shown in answer.text
    assert "<script" not in answer.text.partition("<main")[2]  # the layout's own stand in its head
    assert "Open to everybody." in answer.text


async def test_the_page_for_people_is_made_once_a_language_whoever_asks(client: MakeClient) -> None:
    before = rendered.cache_info().misses
    pages = [await client(None).get("/docs/api", headers={"Accept-Language": tag}) for tag in ["es", "en", "fr"] * 3]
    assert rendered.cache_info().misses - before <= 2
    assert len({page.text.split("<h2", 2)[2] for page in pages[:2]}) == 2
    assert "&lt;h2" not in pages[0].text
