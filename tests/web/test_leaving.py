"""One's own data as a file, and the end of an account, over HTTP."""

import json

import pytest

from care_collective.web.services import Services
from harness import FIRST_WORDS, Town
from web_harness import PASSWORD, MakeClient, approve, bearer, browser, fresh_email, joined

CONFIRMED = {"confirm": "delete"}


@pytest.fixture
def engine() -> str:
    """The database's own tests have both engines."""
    return "v2"


async def test_an_export_is_one_json_file_however_many_pages_it_has(town: Town, client: MakeClient) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    opened = await helper.offer_v2(await town.request(owner))
    await town.fill(opened["conversation_id"], owner, helper, 4100)
    await town.restrict(helper, "banned", why="Threats")
    answer = await client(helper).get("/api/me/export")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"].startswith('attachment; filename="care-collective-')
    whole = answer.json()
    assert [m["seq"] for m in whole["messages"]] == list(range(4101))
    assert (whole["messages"][0]["content"], whole["restrictions"][0]["why"]) == (FIRST_WORDS, "Threats")
    assert whole["profile"]["display_name"] == "Hal"
    assert not {"success", "next_cursor"} & set(whole)
    assert (await client(None).get("/api/me/export")).status_code == 401


async def test_a_token_deletes_by_a_word_and_is_refused_from_then_on(town: Town, client: MakeClient) -> None:
    helper = await town.member("Hal")
    refused = await client(helper).request("DELETE", "/api/me", json={"confirm": "yes"})
    assert (refused.status_code, list(refused.json()["fields"])) == (400, ["confirm"])
    assert (await client(helper).request("DELETE", "/api/me", json=CONFIRMED)).json()["success"]
    for method, path in (("GET", "/api/auth/me"), ("GET", "/api/me/export"), ("GET", "/api/requests")):
        again = await client(helper).request(method, path)
        assert (again.status_code, again.json()["code"]) == (401, "unauthenticated"), path
    # A retry whose first answer was lost finds nobody.
    assert (await client(helper).request("DELETE", "/api/me", json=CONFIRMED)).status_code == 401


async def test_a_session_needs_the_password_too_and_ends_everywhere(services: Services, town: Town) -> None:
    email = fresh_email()
    async with browser(services, town) as here, browser(services, town) as there:
        mine = await joined(here, email)
        await approve(town, mine["user_id"])
        signed = await there.post("/api/auth/sign-in", json={"email": email, "password": PASSWORD})
        assert signed.status_code == 200
        csrf = {"x-csrf-token": mine["csrf_token"]}
        for body in (CONFIRMED, {**CONFIRMED, "password": "not mine at all"}):
            wrong = await here.request("DELETE", "/api/me", json=body, headers=csrf)
            assert (wrong.status_code, list(wrong.json()["fields"])) == (400, ["password"])
        body = {**CONFIRMED, "password": PASSWORD}
        assert (await here.request("DELETE", "/api/me", json=body)).status_code == 403
        done = await here.request("DELETE", "/api/me", json=body, headers=csrf)
        assert (done.status_code, done.json()["message"]) == (200, "Your account is deleted.")
        assert "care_session" not in here.cookies
        assert (await there.get("/api/auth/me")).status_code == 401
        wrong = await here.post("/api/auth/sign-in", json={"email": email, "password": PASSWORD})
        assert wrong.status_code == 401
        # The address is free again, and nothing of before comes with it.
        fresh = await joined(here, email)
        assert (fresh["user_id"] != mine["user_id"], fresh["verification_status"]) == (True, "pending")


async def test_an_export_through_the_database_clients_door_is_paged(town: Town, client: MakeClient) -> None:
    helper = await town.member("Hal")
    answer = await client(None).post("/rest/v1/rpc/export_my_data", json={}, headers=bearer(helper))
    assert answer.json()["next_cursor"] is None
    assert json.loads(answer.text)["account"]["user_id"] == str(helper.user_id)


async def test_the_page_tells_what_happens_and_asks_for_password_and_box(services: Services, town: Town) -> None:
    async with browser(services, town) as client:
        mine = await joined(client, fresh_email())
        shown = await client.get("/settings/data")
        assert "nobody can undo it" in shown.text
        assert (await client.get("/settings/data/file")).json()["account"]["user_id"] == mine["user_id"]
        form = {"csrf_token": mine["csrf_token"], "key": "k", "password": "not mine at all", "confirm": "delete"}
        for changed, words in (
            ({"confirm": ""}, "Tick this box"),
            ({}, "This is not your password."),
            ({"csrf_token": "other"}, "This page had been open for too long"),
        ):
            again = await client.post("/settings/data", data={**form, **changed})
            assert again.status_code in {400, 403}
            assert words in again.text
            assert "not mine at all" not in again.text
        # A stranger's link says nothing to who is still here.
        assert (await client.get("/settings/data/gone")).headers["location"] == "/settings/data"
        gone = await client.post("/settings/data", data={**form, "password": PASSWORD})
        assert (gone.status_code, gone.headers["location"]) == (303, "/settings/data/gone")
        after = await client.get("/settings/data/gone")
        assert "Your account is deleted" in after.text
        assert "Sign out" not in after.text
        assert (await client.get("/settings/data")).headers["location"].startswith("/sign-in")
