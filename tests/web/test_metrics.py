"""GET /metrics: what this process counted, on an address of its own, with labels that cannot grow."""

import dataclasses
import re
from collections import Counter
from collections.abc import AsyncIterator
from socket import create_server
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from care_collective.errors import Code
from care_collective.web.metrics import exposition, telling
from care_collective.web.services import Services
from harness import FIRST_WORDS, Town
from web_harness import MakeClient, of, start

Samples = dict[tuple[str, ...], float]


@pytest.fixture
async def metrics(services: Services) -> AsyncIterator[str]:
    """Where the node tells its numbers."""
    with create_server(("127.0.0.1", 0)) as listening:
        async with telling(services, listening):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def scraped(metrics: str) -> tuple[str, Samples]:
    """The text, and its samples by name and the labels' values in the order of the labels' names."""
    async with httpx.AsyncClient(base_url=metrics) as http:
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
    services: Services, metrics: str, client: MakeClient, town: Town, engine: str
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

    text, samples = await scraped(metrics)
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
    assert samples["care_letters_total", "sent"] == 0
    assert (samples["care_guard_watching",], samples["care_alerts_not_sent",]) == (1, 0)
    assert "care_pushes" not in text  # this node offers none
    for name in ("waiting", "failing", "given_up"):
        assert samples[f"care_letters_{name}",] >= 0
    assert samples["process_resident_memory_bytes",] > 1_000_000
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-|Hal|Olga|@", text)


async def test_letters_pushes_and_a_guard_that_sees_nothing_are_told(services: Services) -> None:
    stand_ins: dict[str, Any] = {
        "mailer": SimpleNamespace(counts=Counter(sent=3, dropped=4)),
        "pusher": SimpleNamespace(counts=Counter(sent=5, failed=2, letter=1)),
        "guard": SimpleNamespace(state="blind"),
    }
    lines = (await exposition(dataclasses.replace(services, **stand_ins))).decode().split("\n")
    assert [line for line in lines if line.startswith(("care_letters_total", "care_pushes", "care_guard"))] == [
        "care_guard_watching 0.0",
        *(f'care_letters_total{{outcome="{outcome}"}} {count}.0'
          for outcome, count in {"sent": 3, "failed": 0, "dead": 0, "dropped": 4}.items()),
        *(f'care_pushes_total{{outcome="{outcome}"}} {count}.0'
          for outcome, count in {"sent": 5, "failed": 2, "letter": 1, "dropped": 0}.items()),
    ]  # fmt: skip


async def test_no_label_can_grow(metrics: str, client: MakeClient, town: Town) -> None:
    helper = client(await town.member("Hal"))
    for _ in range(3):
        await helper.post(start((await town.member()).user_id), json={"initial_message": FIRST_WORDS})
    text, _ = await scraped(metrics)
    allowed = {
        "engine": {"v1", "v2", "both"},
        "verb": {"open", "send", "read"},
        "code": {*Code, "success", "shared", "engine_off", "paused"},
        "flag": {"messaging_v2"},
        "stage": {"off", "internal", "percentage", "on"},
        "version": None,
        "source": None,
        "outcome": {"sent", "failed", "dead", "dropped", "letter"},
        "le": None,
    }
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for label, value in sample.labels.items():
                known = allowed[label]
                assert known is None or value in known, sample


async def test_a_database_that_is_away_is_told_and_keeps_nothing_back(services: Services, metrics: str) -> None:
    class Away:
        async def call(self, *_: object) -> None:
            raise TimeoutError

    object.__setattr__(services, "database", Away())
    _, samples = await scraped(metrics)
    assert samples["care_database_up",] == 0
    assert ("care_outbox_lag_seconds",) not in samples
