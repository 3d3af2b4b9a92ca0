"""Joining, signing in and out over HTTP: what a session is, and what nobody can learn or plant."""

import hashlib
import json
from collections.abc import AsyncIterator
from unittest.mock import Mock
from uuid import UUID

import pytest

from care_collective.web.services import Services
from harness import Care, Person, Town
from web_harness import PASSWORD, application, approve, bearer, browser, fresh_email, joined, services_for

SIGN_IN, SIGN_UP, SIGN_OUT, ME = (f"/api/auth/{verb}" for verb in ("sign-in", "sign-up", "sign-out", "me"))


@pytest.fixture
def engine() -> str:
    """Accounts know no engine: one is enough."""
    return "v2"


@pytest.fixture
async def secure(shared: Care) -> AsyncIterator[Services]:
    """A node behind TLS."""
    made = services_for(shared, base_url="https://care.example")
    yield made
    await made.close()


async def test_joining_makes_a_pending_member_who_is_signed_in(services: Services, town: Town) -> None:
    email = fresh_email()
    async with browser(services, town) as client:
        body = await joined(client, email.upper())
        me = (await client.get(ME)).json()
    assert (body["email"], body["verification_status"], body["restriction"]) == (email, "pending", None)
    assert body["community"]["id"] == str(town.community_id)
    assert {name: me[name] for name in me} == {name: body[name] for name in me}
    secret = await town.care.owner.fetchval(
        "select secret from care.credentials where user_id = $1", UUID(body["user_id"])
    )
    assert secret.startswith("$argon2id$")


async def test_a_session_cookie_is_for_this_host_and_no_script(
    services: Services, secure: Services, town: Town
) -> None:
    for node, name, flags in (
        (services, "care_session", {"httponly", "samesite=lax", "path=/"}),
        (secure, "__Host-care_session", {"httponly", "samesite=lax", "path=/", "secure"}),
    ):
        async with browser(node, town) as client:
            answer = await client.post(SIGN_UP, json=application(fresh_email()))
            found = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
            assert {part for part in found if not part.startswith("max-age")} == flags
            assert list(client.cookies) == [name]
            assert (await client.get(ME)).status_code == 200


async def test_the_database_keeps_only_the_hash_of_a_session(services: Services, town: Town) -> None:
    async with browser(services, town) as client:
        body = await joined(client, fresh_email())
        token = client.cookies["care_session"]
    rows = await town.care.owner.fetch("select * from care.sessions where user_id = $1", UUID(body["user_id"]))
    assert [row["id_hash"] for row in rows] == [hashlib.sha256(token.encode()).digest()]
    assert token not in str([dict(row) for row in rows])


async def test_signing_in_changes_the_session_and_ends_the_one_before(services: Services, town: Town) -> None:
    email = fresh_email()
    async with browser(services, town) as client, browser(services, town) as thief:
        first = await joined(client, email)
        before = client.cookies["care_session"]
        answer = await client.post(SIGN_IN, json={"email": email, "password": PASSWORD})
        after = client.cookies["care_session"]
        assert answer.status_code == 200
        assert after != before
        for token, status in ((before, 401), (after, 200)):
            assert (await thief.get(ME, headers={"cookie": f"care_session={token}"})).status_code == status
        for body, status in ((first, 401), (answer.json(), 200)):
            by_token = {"Authorization": f"Bearer {body['access_token']}"}
            assert (await thief.get(ME, headers=by_token)).status_code == status


async def test_a_planted_cookie_is_never_adopted(services: Services, town: Town) -> None:
    async with browser(services, town) as client, browser(services, town) as attacker:
        answer = await client.post(SIGN_UP, json=application(fresh_email()), headers={"cookie": "care_session=planted"})
        assert answer.status_code == 201
        assert client.cookies["care_session"] != "planted"
        assert (await attacker.get(ME, headers={"cookie": "care_session=planted"})).status_code == 401


async def test_signing_out_ends_the_session_and_takes_the_cookie(services: Services, town: Town) -> None:
    async with browser(services, town) as client, browser(services, town) as thief:
        body = await joined(client, fresh_email())
        token = client.cookies["care_session"]
        answer = await client.post(SIGN_OUT, headers={"x-csrf-token": body["csrf_token"]})
        assert answer.json() == {"success": True}
        assert "max-age=0" in answer.headers["set-cookie"].lower()
        assert not list(client.cookies)
        assert (await thief.get(ME, headers={"cookie": f"care_session={token}"})).status_code == 401


async def test_a_token_ends_with_its_session_and_a_platforms_goes_on(services: Services, town: Town) -> None:
    email = fresh_email()

    async def status(body: dict[str, str]) -> list[int]:
        token = {"Authorization": f"Bearer {body['access_token']}"}
        own = await stranger.get(ME, headers=token)
        called = await stranger.post("/rest/v1/rpc/list_blocks", json={}, headers=token)
        return [own.status_code, called.json().get("reason", 200)]

    async with browser(services, town) as one, browser(services, town) as other, browser(services, town) as stranger:
        first = await joined(one, email)
        second = (await other.post(SIGN_IN, json={"email": email, "password": PASSWORD})).json()
        assert [await status(body) for body in (first, second)] == [[200, 200]] * 2
        out = {"Authorization": f"Bearer {first['access_token']}"}
        assert (await stranger.post(SIGN_OUT, headers=out)).json() == {"success": True}
        assert [await status(body) for body in (first, second)] == [[401, "identity"], [200, 200]]
        assert (await one.get(ME)).status_code == 401
        user_id = UUID(first["user_id"])
        set_at = await town.care.database.value("care.password_set_at", p_user_id=user_id)
        assert await town.care.database.value(
            "care.replace_password", p_user_id=user_id, p_secret="another", p_set_at=set_at, p_keep_session=None
        )
        assert await status(second) == [401, "identity"]
        assert (await stranger.get(ME, headers=bearer(Person(town, user_id, "Nia")))).status_code == 200


async def test_an_expired_session_is_nobodys(services: Services, town: Town) -> None:
    async with browser(services, town) as client:
        body = await joined(client, fresh_email())
        await town.care.owner.execute(
            "update care.sessions set expires_at = now() - interval '1 second' where user_id = $1",
            UUID(body["user_id"]),
        )
        answer = await client.get(ME)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert (await client.get("/account")).headers["location"] == "/sign-in?next=/account"


async def test_what_is_taken_from_a_member_is_taken_from_cookie_and_token_at_once(
    services: Services, town: Town
) -> None:
    async def allowed(client_headers: dict[str, str]) -> tuple[int, str | None]:
        answer = await client.post(
            "/api/requests", json={"title": "Company for tea", "category": "other"}, headers=client_headers
        )
        return answer.status_code, answer.json().get("reason") or answer.json().get("code")

    async with browser(services, town) as client:
        body = await joined(client, fresh_email())
        person = Person(town, UUID(body["user_id"]), "Nia")
        cookie = {"x-csrf-token": body["csrf_token"]}
        token = {"Authorization": f"Bearer {body['access_token']}"}
        assert [await allowed(way) for way in (cookie, token)] == [(403, "not_approved")] * 2
        await approve(town, body["user_id"])
        assert [await allowed(way) for way in (cookie, token)] == [(201, None)] * 2
        for kind in ("limited", "suspended", "banned"):
            await town.restrict(person, kind)
            assert [await allowed(way) for way in (cookie, token)] == [(403, "restricted")] * 2
            assert (await client.get(ME)).json()["restriction"]["kind"] == kind
        assert (await client.get("/api/messaging/conversations", headers=token)).status_code == 403
        await town.care.owner.execute(
            "update public.profiles set deleted_at = now() where user_id = $1", person.user_id
        )
        assert [await allowed(way) for way in (cookie, token)] == [(401, "unauthenticated")] * 2
        assert (await client.get(ME, headers=token)).status_code == 401


async def test_the_eleventh_sign_in_of_an_account_from_an_address_waits(services: Services, town: Town) -> None:
    email, other = fresh_email(), fresh_email()
    wrong = {"email": email, "password": "not the password"}
    async with browser(services, town) as client, browser(services, town, address=("127.0.0.2", 1)) as elsewhere:
        await joined(elsewhere, email)
        answers = [await client.post(SIGN_IN, json=wrong) for _ in range(11)]
        assert [a.status_code for a in answers] == [401] * 10 + [429]
        late = await client.post(SIGN_IN, json={"email": f" {email.upper()} ", "password": PASSWORD})
        wait = late.json()["retry_after"]
        assert (late.status_code, late.json()["code"]) == (429, "rate_limited")
        assert late.headers["retry-after"] == str(wait)
        assert 840 < wait <= 900
        assert (await elsewhere.post(SIGN_IN, json={"email": email, "password": PASSWORD})).status_code == 200
        assert (await client.post(SIGN_IN, json={"email": other, "password": PASSWORD})).status_code == 401
        page = await client.post("/sign-in", data={"email": email, "password": PASSWORD})
        assert (page.status_code, "retry-after" in page.headers) == (429, True)
        assert (await client.post(SIGN_UP, json=application(email))).status_code == 429
        await town.care.owner.execute(
            "update care.sign_in_attempts set window_start = window_start - interval '15 minutes'"
        )
        assert (await client.post(SIGN_IN, json={"email": email, "password": PASSWORD})).status_code == 200


async def test_an_ipv6_network_is_one_address(services: Services, shared: Care) -> None:
    town = await shared.town(limits={"sign_ins_per_quarter_hour": 2})
    wrong = {"email": fresh_email(), "password": "not the password"}
    statuses = []
    for address in ("2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff::3", "2001:db8:0:2::1"):
        async with browser(services, town, address=(address, 1)) as client:
            statuses.append((await client.post(SIGN_IN, json=wrong)).status_code)
    assert statuses == [401, 401, 429, 401]


async def test_the_eleventh_sign_up_from_an_address_waits_whatever_account_it_is_for(
    services: Services, town: Town
) -> None:
    async with browser(services, town) as client, browser(services, town, address=("127.0.0.2", 1)) as elsewhere:
        mine = fresh_email()
        assert (await client.post(SIGN_UP, json=application(mine))).status_code == 201
        for _ in range(9):
            assert (await client.post(SIGN_UP, json=application(fresh_email()))).status_code == 201
        late = await client.post(SIGN_UP, json=application(fresh_email()))
        assert (late.status_code, late.json()["code"]) == (429, "rate_limited")
        assert late.headers["retry-after"] == str(late.json()["retry_after"])
        assert 840 < late.json()["retry_after"] <= 900
        form = {"email": fresh_email(), "password": PASSWORD, "display_name": "Nia"}
        page = await client.post("/sign-up", data=form)
        assert (page.status_code, "retry-after" in page.headers) == (429, True)
        assert await town.count("public.profiles") == 10
        # Who is there already signs in all the same, and a neighbour elsewhere joins.
        assert (await client.post(SIGN_IN, json={"email": mine, "password": PASSWORD})).status_code == 200
        assert (await elsewhere.post(SIGN_UP, json=application(fresh_email()))).status_code == 201
    away = await town.care.town()
    async with browser(services, away) as abroad:
        assert (await abroad.post(SIGN_UP, json=application(fresh_email()))).status_code == 201


async def test_an_unknown_account_and_a_wrong_password_are_one(
    services: Services, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = fresh_email()
    async with browser(services, town) as client:
        await joined(client, email)
        client.cookies.clear()
        verify = Mock(wraps=services.passwords._verify)
        monkeypatch.setattr(services.passwords, "_verify", verify)
        said = []
        for tried in (email, fresh_email(), "nobody", "ä@example.org", "x" * 300 + "@example.org"):
            answer = await client.post(SIGN_IN, json={"email": tried, "password": "not the password"})
            body = {name: value for name, value in answer.json().items() if name != "request_id"}
            said.append((answer.status_code, body, sorted(answer.headers), verify.call_count))
            verify.reset_mock()
        # Each took one hash at full cost: who measures the time learns nothing either.
        assert said == [(401, said[0][1], said[0][2], 1)] * 5
        assert "set-cookie" not in said[0][2]


async def test_a_taken_address_joins_only_with_its_password(services: Services, town: Town) -> None:
    email = fresh_email()
    async with browser(services, town) as client, browser(services, town) as other:
        mine = await joined(client, email)
        answer = await other.post(SIGN_UP, json=application(email, password="another good password"))
        assert (answer.status_code, list(answer.json()["fields"])) == (400, ["email"])
        assert not list(other.cookies)
        again = await joined(other, email)
    assert again["user_id"] == mine["user_id"]
    assert await town.count("public.profiles") == 1


async def test_one_account_joins_a_second_community_with_its_password(services: Services, town: Town) -> None:
    email, away = fresh_email(), await town.care.town()
    async with browser(services, town) as home, browser(services, away) as abroad:
        mine = await joined(home, email)
        refused = await abroad.post(SIGN_IN, json={"email": email, "password": PASSWORD})
        assert (refused.status_code, "Join it first" in refused.json()["error"]) == (401, True)
        theirs = await joined(abroad, email)
        assert theirs["user_id"] == mine["user_id"]
        assert theirs["community"]["id"] == str(away.community_id)
        assert (await home.get(ME)).json()["community"]["id"] == str(town.community_id)
    await approve(away, mine["user_id"])
    async with browser(services, town) as home:
        assert (await home.post(SIGN_IN, json={"email": email, "password": PASSWORD})).json()[
            "verification_status"
        ] == "pending"


async def test_an_invitation_takes_an_account_from_whoever_made_it_elsewhere(services: Services, town: Town) -> None:
    email, away = fresh_email(), await town.care.town()
    async with browser(services, town) as squatter, browser(services, away) as abroad:
        made = await joined(squatter, email)
        await Person(town, UUID(made["user_id"]), "Nia").call(
            "add_push_subscription", endpoint="https://push.example/1", p256dh="B" + "A" * 86, auth="A" * 22
        )
        answer = await town.care.owner.fetchval(
            "select care.invite_member($1, $2, $3, 'Rosa', null, true)",
            away.community_id,
            email,
            await services.passwords.hash("a new password of hers"),
        )
        assert json.loads(answer)["had_account"]
        assert (await squatter.get(ME)).status_code == 401
        # Nor is their browser told of anything more.
        assert await town.count("care.push_subscriptions") == 0
        for password, status in ((PASSWORD, 401), ("a new password of hers", 200)):
            assert (await abroad.post(SIGN_IN, json={"email": email, "password": password})).status_code == status


async def test_where_there_is_no_community_nobody_joins(services: Services, town: Town) -> None:
    async with browser(services, town) as client:
        answer = await client.post(SIGN_UP, json=application(fresh_email()), headers={"host": "nowhere.example"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert (await client.get("/", headers={"host": "nowhere.example"})).status_code == 200
