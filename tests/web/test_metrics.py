"""GET /metrics: what this process counted, on an address of its own, with labels that cannot grow."""

import re
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from care_collective.errors import Code
from care_collective.settings import Address
from care_collective.web.server import telling
from care_collective.web.services import Services
from harness import FIRST_WORDS, Care, Town
from web_harness import MakeClient, of, services_for, start

Samples = dict[tuple[str, ...], float]


@pytest.fixture
async def services(shared: Care, engine: str) -> AsyncIterator[Services]:
    """A node that tells its numbers on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", free.getsockname()[1])
    made = services_for(shared, messaging_v2_rollout="on" if engine == "v2" else "off", metrics_bind=address)
    async with telling(made):
        yield made
    await made.close()


async def scraped(services: Services) -> tuple[str, Samples]:
    """The text, and its samples by name and the labels' values in the order of the labels' names."""
    bind = services.settings.metrics_bind
    assert bind is not None
    async with httpx.AsyncClient(base_url=f"http://{bind.host}:{bind.port}") as http:
        answer = await http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        assert (await http.get("/api/health")).status_code == 404
    samples = {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    return answer.text, samples


async def test_the_metrics_are_the_counts_that_stand_in_the_database(
    services: Services, client: MakeClient, town: Town, engine: str
) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request = await town.request(owner)
    http = client(helper)
    opened = (await http.post(start(request), json={"initial_message": FIRST_WORDS})).json()
    await http.post(start(request), json={"initial_message": FIRST_WORDS})
    await http.post(of(opened["conversation_id"]), json={"content": "Are you there?"})
    await http.get(of(opened["conversation_id"]))
    await http.get(of(request))
    await services.outcomes.flush()

    text, samples = await scraped(services)
    rows = await town.care.owner.fetch(
        "select version, verb, code, sum(calls) as calls from care.engine_minutes where node_id = $1 group by 1, 2, 3",
        services.outcomes.node_id,
    )
    stored = {("care_calls_total", row["code"], row["version"], row["verb"]): row["calls"] for row in rows}
    assert stored == {
        ("care_calls_total", "success", engine, "open"): 1,
        ("care_calls_total", "conversation_exists", engine, "open"): 1,
        ("care_calls_total", "success", "both", "send"): 1,
        ("care_calls_total", "success", "both", "read"): 1,
        ("care_calls_total", "not_found", "both", "read"): 1,
    }
    assert {name: value for name, value in samples.items() if name[0] == "care_calls_total"} == stored
    assert samples["care_call_duration_seconds_bucket", engine, "+Inf", "open"] == 2
    assert samples["care_call_duration_seconds_count", engine, "open"] == 2
    assert samples["care_call_duration_seconds_sum", "both", "read"] > 0
    assert samples["care_flag_stage", "messaging_v2", "environment:stage", "on" if engine == "v2" else "off"] == 1
    assert samples["care_flag_share", "messaging_v2"] == (1 if engine == "v2" else 0)
    assert (samples["care_database_up",], samples["care_outcomes_dropped_total",]) == (1, 0)
    assert samples["care_streams_open",] == 0
    assert samples["care_outbox_lag_seconds",] >= 0
    assert samples["process_resident_memory_bytes",] > 1_000_000
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-|Hal|Olga|@", text)


async def test_no_label_can_grow(services: Services, client: MakeClient, town: Town) -> None:
    helper = client(await town.member("Hal"))
    for _ in range(3):
        await helper.post(start((await town.member()).user_id), json={"initial_message": FIRST_WORDS})
    text, _ = await scraped(services)
    allowed = {
        "engine": {"v1", "v2", "both"},
        "verb": {"open", "send", "read"},
        "code": {*Code, "success", "shared", "engine_off"},
        "flag": {"messaging_v2"},
        "stage": {"off", "internal", "percentage", "on"},
        "version": None,
        "source": None,
        "le": None,
    }
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for label, value in sample.labels.items():
                known = allowed[label]
                assert known is None or value in known, sample


async def test_a_database_that_is_away_is_told_and_keeps_nothing_back(services: Services) -> None:
    class Away:
        async def call(self, *_: object) -> None:
            raise TimeoutError

    object.__setattr__(services, "database", Away())
    _, samples = await scraped(services)
    assert samples["care_database_up",] == 0
    assert ("care_outbox_lag_seconds",) not in samples
