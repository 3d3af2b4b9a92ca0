"""The approvals page: coordinators see who waits and decide; nobody else is shown it or its link."""

import pytest

from care_collective.web.services import Services
from harness import Town
from web.pages import opened, refused, visitor

AT = "/coordinator/approvals"
TURNED = "Nia \u202e<script>alert(1)</script>"


@pytest.fixture
def engine() -> str:
    """Pages know no engine."""
    return "v2"


async def test_a_coordinator_reads_what_applicants_wrote_and_decides(services: Services, town: Town) -> None:
    coordinator = await town.member("Cora", coordinator=True)
    nia, tom = await town.member(TURNED, status="pending"), await town.member("Tom", status="pending")
    await town.care.owner.execute(
        "update public.profiles set application_words = $1 where user_id = $2", f"Olga knows me. {TURNED}", nia.user_id
    )
    async with await visitor(services, coordinator) as client:
        home = await opened(client, "/requests")
        assert "Approvals 2 waiting" in home.said
        page = await opened(client, AT)
        assert "Olga knows me." in page.said
        assert page.loose == []
        ids = [found["id"] for _, found in page.tags if "id" in found]
        assert len(ids) == len(set(ids)), "a label would lead to another applicant's field"
        assert not any(tag == "script" and "src" not in found for tag, found in page.tags)

        form = page.form(f"{tom.user_id}/reject")
        again = await refused(client, form, 400, reason="x" * 501)
        assert again.form(f"{tom.user_id}/reject").fields["reason"] == "x" * 501
        assert again.form(f"{tom.user_id}/reject").fields["key"] != ""
        answer = await client.post(form.action, data={**form.fields, "reason": "Please call us."})
        assert answer.headers["location"] == f"{AT}?done=rejected"
        assert "They are told, with the reason you gave." in (await opened(client, answer.headers["location"])).said
        assert "Please call us." in (await opened(client, f"{AT}?rejected")).said

        form = page.form(f"{nia.user_id}/approve")
        for _ in range(2):  # a double tap
            answer = await client.post(form.action, data=form.fields)
            assert answer.headers["location"] == f"{AT}?done=approved"
        assert "Nobody is waiting" in (await opened(client, AT)).said


async def test_nobody_else_is_shown_it(services: Services, town: Town) -> None:
    applicant = await town.member("Nia", status="pending")
    async with await visitor(services, await town.member("Ann")) as client:
        assert AT not in (await client.get("/requests")).text
        answer = await client.get(AT)
        assert answer.status_code == 403
        assert "Nia" not in answer.text
    async with await visitor(services, await town.member("Cora", coordinator=True)) as client:
        form = (await opened(client, AT)).form(f"{applicant.user_id}/approve")
        forged = await client.post(form.action, data={**form.fields, "csrf_token": "x" * 64})
        assert forged.status_code == 403
        assert (await client.post(f"{AT}/{applicant.user_id}/promote", data=form.fields)).status_code == 404
    assert await town.count("public.profiles", "verification_status = 'pending'") == 1
