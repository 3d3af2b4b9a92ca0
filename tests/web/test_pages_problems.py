"""Telling of a problem: the page of an error with a conversation leads there, and what is sent is thanked for."""

import pytest

from care_collective.errors import CareError, Code
from care_collective.messaging.service import Messaging
from care_collective.web.services import Services
from harness import Town
from web.pages import opened, refused, visitor


@pytest.fixture
def engine() -> str:
    """Pages know no engine."""
    return "v2"


async def test_an_error_with_a_conversation_leads_to_a_form_that_is_thanked_for(
    services: Services, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await town.member("Ana")

    async def fail(*_: object, **__: object) -> None:
        raise CareError(Code.RPC_ERROR)

    async with await visitor(services, person) as client:
        with monkeypatch.context() as broken:
            broken.setattr(Messaging, "list_conversations", fail)
            page = await opened(client, "/messages", 500)
        (link,) = [
            a["href"] or "" for tag, a in page.tags if tag == "a" and (a.get("href") or "").startswith("/problems")
        ]
        assert "code=rpc_error" in link
        form = (await opened(client, link)).form("/problems")
        assert (await refused(client, form, 400, words="x" * 501)).offers("/problems")
        answer = await client.post("/problems", data={**form.fields, "words": "It did not open."})
        assert answer.headers["location"] == "/problems?told"
        assert "Thank you." in (await opened(client, "/problems?told")).said
    row = await town.care.owner.fetchrow(
        "select user_id, code, reference, words from care.problem_reports where community_id = $1", town.community_id
    )
    assert tuple(row) == (person.user_id, "rpc_error", link.partition("reference=")[2], "It did not open.")


async def test_other_errors_lead_nowhere(services: Services, town: Town) -> None:
    async with await visitor(services, await town.member("Ana")) as client:
        answer = await client.get("/nowhere")
        assert "problems?code" not in answer.text
