"""Who gets in and by what: CSRF tokens, forms of other sites, bearer tokens, where a form leads, what is logged."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from care_collective.accounts import tokens
from care_collective.accounts.people import Accounts
from care_collective.web.pages.forms import safe_path
from care_collective.web.services import Services, utc_now
from harness import FIRST_WORDS, Care, Town
from web_harness import (
    PASSWORD,
    SETTINGS,
    MakeClient,
    approve,
    bearer,
    browser,
    fresh_email,
    joined,
    of,
    services_for,
    shown,
    start,
)

ME = "/api/auth/me"
ASK = {"title": "Company for tea", "category": "other"}
EVERYWHERE = (
    ("GET", ME, None),
    ("GET", "/api/requests", None),
    ("POST", "/api/requests", ASK),
    ("GET", "/api/messaging/conversations", None),
    ("GET", "/api/features", None),
)


@pytest.fixture
def engine() -> str:
    """The door knows no engine: one is enough."""
    return "v2"


def forged(claims: dict[str, Any], *, secret: str = SETTINGS.jwt_secret or "", algorithm: str = "HS256") -> str:
    """A token with any claims, well signed by any secret."""

    def part(value: object) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    content = part({"alg": algorithm, "typ": "JWT"}) + b"." + part(claims)
    signature = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    return (content + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


async def test_a_change_through_a_cookie_needs_the_sessions_own_token(services: Services, town: Town) -> None:
    async with browser(services, town) as client, browser(services, town) as other:
        mine, theirs = await joined(client, fresh_email()), await joined(other, fresh_email())
        await approve(town, mine["user_id"])
        for token in (None, "", "wrong", theirs["csrf_token"], mine["csrf_token"].upper(), "\xff"):
            headers = {} if token is None else {b"x-csrf-token": token.encode("latin-1")}
            answer = await client.post("/api/requests", json=ASK, headers=headers)
            assert (answer.status_code, answer.json()["reason"]) == (403, "csrf"), token
        assert await town.count("public.help_requests") == 0
        assert (await client.get("/api/requests")).status_code == 200
        assert (await client.get(ME)).json()["csrf_token"] == mine["csrf_token"]
        good = await client.post("/api/requests", json=ASK, headers={"x-csrf-token": mine["csrf_token"]})
        assert good.status_code == 201
        client.cookies.clear()
        by_token = {"Authorization": f"Bearer {mine['access_token']}"}
        assert (await client.post("/api/requests", json=ASK, headers=by_token)).status_code == 201


async def test_signing_out_by_a_form_needs_the_token_too(services: Services, town: Town) -> None:
    async with browser(services, town) as client:
        mine = await joined(client, fresh_email())
        assert (await client.post("/sign-out", data={"csrf_token": "wrong"})).status_code == 403
        assert (await client.get(ME)).status_code == 200
        answer = await client.post("/sign-out", data={"csrf_token": mine["csrf_token"]})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert (await client.get(ME)).status_code == 401


async def test_a_form_of_another_site_signs_nobody_in(shared: Care, town: Town) -> None:
    own = f"https://{town.host}"
    # Behind a proxy that ends TLS the application itself is spoken to in plain HTTP.
    node = services_for(shared, base_url="https://care.example")
    email = fresh_email()
    async with browser(node, town) as client:
        await joined(client, email)
        client.cookies.clear()
        form = {"email": email, "password": PASSWORD}
        for headers in (
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": f"http://{town.host}"},
            {"origin": f"{own}.evil.example"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site", "origin": own},
            {"sec-fetch-site": "nonsense"},
        ):
            for path in ("/sign-in", "/sign-up"):
                answer = await client.post(path, data=form, headers=headers)
                assert (answer.status_code, "set-cookie" in answer.headers) == (403, False), headers
        for fine in ({"origin": own, "sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {}):
            answer = await client.post(f"http://{town.host}/sign-in", data=form, headers=fine)
            assert (answer.status_code, "set-cookie" in answer.headers) == (303, True), fine
        # The API takes no form at all, so that a form can sign nobody in there either.
        assert (await client.post("/api/auth/sign-in", data=form)).status_code == 415
    await node.close()


async def test_a_bad_token_is_nobody_everywhere(client: MakeClient, town: Town) -> None:
    person = await town.member()
    now = int(time.time())
    claims = {
        "sub": str(person.user_id),
        "role": "authenticated",
        "aud": "authenticated",
        "exp": now + 600,
        "app_metadata": {"community_id": str(town.community_id)},
    }
    old = utc_now().replace(year=2020)
    bad = {
        "nothing": "",
        "no token": "nonsense",
        "expired": tokens.issue(SETTINGS.jwt_secret or "", user_id=person.user_id, community_id=None, now=old),
        "another secret": forged(claims, secret="another secret, also of 32 bytes or so"),
        "no algorithm": forged(claims, algorithm="none").rpartition(".")[0] + ".",
        "another audience": forged(claims | {"aud": "anon"}),
        "anon": forged(claims | {"role": "anon"}),
        "service_role": forged(claims | {"role": "service_role"}),
        "no expiry": forged({name: value for name, value in claims.items() if name != "exp"}),
        "not yet": forged(claims | {"nbf": now + 600}),
        "a stranger's": forged(claims | {"sub": "nonsense"}),
    }
    nobody = client(None)
    assert (await nobody.get(ME, headers={"Authorization": f"Bearer {forged(claims)}"})).status_code == 200
    for name, token in bad.items():
        for method, path, body in EVERYWHERE:
            headers = {"Authorization": f"Bearer {token}"}
            answer = await nobody.request(method, path, json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (name, path)
            assert answer.headers["www-authenticate"] == "Bearer"
    for scheme in ("Basic YTpi", "bearer", "Token x", ""):
        for method, path, body in EVERYWHERE:
            answer = await nobody.request(method, path, json=body, headers={"Authorization": scheme})
            assert answer.status_code == 401, (scheme, path)


async def test_a_token_without_a_living_member_is_nobody(client: MakeClient, town: Town) -> None:
    abroad = await (await town.care.town()).member()
    for method, path, body in EVERYWHERE[:-1]:
        # Well signed, for a community that this person is no member of.
        answer = await client(None).request(method, path, json=body, headers=bearer(abroad, town.community_id))
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), path


async def test_a_token_acts_in_its_own_community_whatever_the_host(services: Services, town: Town) -> None:
    away = await town.care.town()
    here, there = await town.member("Ann"), await away.member("Bea")
    await town.request(here, title="Here: a ride to town")
    await away.request(there, title="There: a ride to town")
    async with browser(services, away) as client:
        answer = await client.get("/api/requests", headers=bearer(here))
        assert [r["title"] for r in answer.json()["help_requests"]] == ["Here: a ride to town"]
        made = await client.post("/api/requests", json=ASK, headers=bearer(here))
        assert made.status_code == 201
        assert (await client.get(ME, headers=bearer(here))).json()["community"]["id"] == str(town.community_id)
    assert (await town.count("public.help_requests"), await away.count("public.help_requests")) == (2, 1)


async def test_a_token_without_a_community_takes_the_hosts(services: Services, town: Town) -> None:
    person = await town.member()
    token = tokens.issue(SETTINGS.jwt_secret or "", user_id=person.user_id, community_id=None, now=utc_now())
    headers = {"Authorization": f"Bearer {token}"}
    async with browser(services, town) as client:
        assert (await client.get(ME, headers=headers)).json()["community"]["id"] == str(town.community_id)
        # Several communities, and none of them at this host: nobody.
        for method, path, body in EVERYWHERE[:-1]:
            answer = await client.request(method, path, json=body, headers={**headers, "host": "nowhere.example"})
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), path


ELSEWHERE = (
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/\x00/evil.example",
    "/\u2028/evil.example",
    "evil.example",
    "",
    "/" + "a" * 5000,
)


async def test_no_form_leads_off_this_site(services: Services, town: Town) -> None:
    email = fresh_email()
    async with browser(services, town) as client:
        await joined(client, email)
        for path in ELSEWHERE:
            assert safe_path(path) == "/", path
            page = await client.get("/sign-in", params={"next": path})
            assert 'name="next" value="/"' in page.text, path
        for path in ELSEWHERE[:9:4]:
            form = {"email": email, "password": PASSWORD, "next": path}
            assert (await client.post("/sign-in", data=form)).headers["location"] == "/", path


async def test_a_form_leads_on_within_this_site(services: Services, town: Town) -> None:
    email = fresh_email()
    async with browser(services, town) as client:
        await joined(client, email)
        for path, location in (("/account?a=b", "/account?a=b"), ("/caf\u00e9", "/caf%C3%A9"), ("/a b", "/a%20b")):
            form = {"email": email, "password": PASSWORD, "next": path}
            assert (await client.post("/sign-in", data=form)).headers["location"] == location


async def test_no_secret_and_no_message_is_logged(services: Services, town: Town) -> None:
    words = f"{FIRST_WORDS} Ask for Zebedee."
    helper, email = await town.member("Hal"), fresh_email()
    request = await town.request(await town.member("Olga"))
    with capture_logs() as logged:
        async with browser(services, town) as client:
            mine = await joined(client, email)
            await client.post("/api/auth/sign-in", json={"email": email, "password": "wrong " + PASSWORD})
            secrets = [PASSWORD, client.cookies["care_session"], mine["access_token"], mine["csrf_token"], email]
        async with browser(services, town) as program:
            opened = await program.post(start(request), json={"initial_message": words}, headers=bearer(helper))
            sent = await program.post(
                of(opened.json()["conversation_id"]), json={"content": words}, headers=bearer(helper)
            )
            await program.get("/account?next=Zebedee", headers=bearer(helper))
    assert sent.status_code == 201
    assert len(logged) > 5
    assert [word for word in (*secrets, "Zebedee", *bearer(helper).values()) if word in shown(logged)] == []


async def test_a_fault_is_logged_without_the_words_and_variables_of_its_frames(
    services: Services, town: Town, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(_: Accounts, community_id: UUID, email: str, password: str, *, address: str) -> UUID:
        raise ValueError(f"cannot use {password}")

    monkeypatch.setattr(Accounts, "sign_in", broken)
    async with browser(services, town) as client:
        headers = {"cookie": "care_session=a-cookie-value", **bearer(await town.member())}
        form = {"email": "zebedee@example.org", "password": PASSWORD}
        for answer in (
            await client.post("/api/auth/sign-in", json=form, headers=headers),
            await client.post("/sign-in", data=form, headers=headers),
        ):
            assert answer.status_code == 500
            assert PASSWORD not in answer.text
    printed = capsys.readouterr().out
    assert printed.count("web.fault") == 2
    assert "test_doors.py" in printed
    assert "builtins.ValueError" in printed
    for secret in (PASSWORD, "zebedee", "a-cookie-value", headers["Authorization"][-20:]):
        assert secret not in printed
