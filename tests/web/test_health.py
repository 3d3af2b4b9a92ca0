"""How a node tells how it is: with its database, without it, and with one of another release."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import msgspec
import pytest

from care_collective import __version__
from care_collective.db import call
from care_collective.db import migrate as runner
from care_collective.db.call import Database
from care_collective.db.embedded import running
from care_collective.web.api import health
from harness import Care, Postgres, care, installed
from web_harness import ADDRESS, SETTINGS, Client, application_of, bearer, services_for, start

HEALTH, LIVE, READY = "/api/health", "/api/health/live", "/api/health/ready"


@pytest.fixture
def engine() -> str:
    """Health knows no engine: one is enough."""
    return "v2"


@pytest.fixture
async def node(scratch: Care) -> AsyncIterator[Client]:
    """A node on a database of its own."""
    services = services_for(scratch)
    transport = httpx.ASGITransport(application_of(services), client=ADDRESS)
    async with httpx.AsyncClient(transport=transport, base_url="http://nowhere.example") as client:
        yield client
    await services.close()


async def test_a_healthy_node_says_so_and_shows_no_secret(node: Client) -> None:
    answer = await node.get(HEALTH)
    body = answer.json()
    assert answer.status_code == 200
    assert (body["status"], body["database"], body["version"]) == ("ok", "reached", __version__)
    assert body["migrations"]["problem"] is None
    assert body["migrations"]["applied"] >= 2
    assert body["outbox_lag_seconds"] >= 0
    told = msgspec.json.decode(answer.content, type=health.Health)
    assert set(body) == set(told.__struct_fields__)
    assert str(SETTINGS.jwt_secret) not in answer.text
    assert (await node.get(LIVE)).json() == {"status": "ok"}
    assert (await node.get(READY)).json() == {"status": "ok"}


async def test_health_reads_no_file_of_the_release_a_second_time(node: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await node.get(HEALTH)).json()["status"] == "ok"
    monkeypatch.setattr(runner, "_read", lambda folder: pytest.fail(f"reads {folder} again"))
    assert (await node.get(HEALTH)).json()["status"] == "ok"


@pytest.mark.parametrize(
    ("statement", "status", "health"),
    [
        ("delete from care.schema_migrations where version = (select max(version) from care.schema_migrations)",
         "behind", 200),
        ("update care.schema_functions set checksum = repeat('0', 64) where room = 'threads'", "behind", 200),
        ("delete from care.schema_migrations", "behind", 200),
        ("drop function care.health()", "unavailable", 503),
    ],
)  # fmt: skip
async def test_a_database_of_another_release_is_not_ready(
    node: Client, scratch: Care, statement: str, status: str, health: int
) -> None:
    await scratch.owner.execute(statement)
    whole, ready = await node.get(HEALTH), await node.get(READY)
    assert (whole.status_code, whole.json()["status"]) == (health, status)
    assert (ready.status_code, ready.json()) == (503, {"status": status})
    assert (await node.get(LIVE)).status_code == 200
    assert "care.health" not in whole.text


async def _said(client: Client, person_headers: dict[str, str], path: str) -> dict[str, object]:
    offer = {"initial_message": "I live near and can help on Friday."}
    return {
        "health": (await client.get(HEALTH)).status_code,
        "live": (await client.get(LIVE)).status_code,
        "ready": (await client.get(READY)).status_code,
        "write": (await client.post(path, json=offer, headers={**person_headers, "Idempotency-Key": "k"})).status_code,
    }


async def test_a_node_whose_database_goes_says_so_and_recovers_by_itself(
    state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "_PATIENCE_SECONDS", 0.0)  # nobody waits here for what does not come
    binaries = installed(18)
    assert binaries is not None
    folder, options = state_folder / "going", {"fsync": "off"}
    async with running(folder, binaries=binaries, options=options) as server:
        postgres = Postgres(server)
        await postgres.make_template()
        name = await postgres.create()
        opened = care(postgres, name, size=2)
        here = await opened.__aenter__()
        services = services_for(here, messaging_v2_rollout="on")
        town = await here.town()
        helper = await town.member("Hal")
        path = start(await town.request(await town.member("Olga")))
    transport = httpx.ASGITransport(application_of(services), client=ADDRESS)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{town.host}") as client:
        away = await _said(client, bearer(helper), path)
        assert away == {"health": 503, "live": 200, "ready": 503, "write": 503}
        refused = await client.post(path, json={"initial_message": "I can help you."}, headers=bearer(helper))
        assert (refused.json()["code"], refused.headers["retry-after"]) == ("unavailable", "1")
        assert (await client.get(HEALTH)).json()["database"] == "away"
        for page in ("/", "/sign-in", "/account"):
            shown = await client.get(page, headers={"cookie": "care_session=any"})
            assert (shown.status_code, shown.headers["retry-after"]) == (503, "1"), page
            assert "not quite ready" in shown.text
        tried = await client.post("/sign-in", data={"email": "nia@example.org", "password": "typed in vain"})
        assert (tried.status_code, tried.headers["retry-after"]) == (503, "1")
        async with running(folder, binaries=binaries, options=options):
            back = await _said(client, bearer(helper), path)
            assert back == {"health": 200, "live": 200, "ready": 200, "write": 201}
            assert await town.count("care.threads") == 1
            await asyncio.wait_for(opened.__aexit__(None, None, None), 10)
    await services.close()


async def test_a_pool_that_is_used_up_is_unavailable_for_a_moment(scratch: Care) -> None:
    pool = await asyncpg.create_pool(scratch.server.dsn(user="care_app", database=scratch.name), min_size=1, max_size=1)
    crowded = Care(scratch.name, scratch.server, Database(pool, acquire_seconds=0.05), scratch.owner)
    services = services_for(crowded)
    transport = httpx.ASGITransport(application_of(services), client=ADDRESS)
    async with pool.acquire(), httpx.AsyncClient(transport=transport, base_url="http://nowhere.example") as client:
        answer = await client.get("/api/auth/me", headers={"cookie": "care_session=any"})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
    await services.close()
    await pool.close()
