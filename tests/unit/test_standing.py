"""What the operators' page makes of the numbers: one word for how it stands, what to look at, places on pictures."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec import json

from care_collective.rollout.kpis import Kpis, of
from care_collective.web.pages import charts
from care_collective.web.pages.standing import concerns, standing

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENGINE: dict[str, Any] = {
    **dict.fromkeys(("attempts", "successes", "failures", "shared", "answers", "complaints", "offers", "answered"), 0),
    **dict.fromkeys(("success_rate", "success_low", "success_high", "complaints_per_100", "answered_rate")),
    **dict.fromkeys(("p50_ms", "p95_ms", "p99_ms")),
    "failure_codes": {},
    "answer_codes": {},
}
NODE: dict[str, Any] = {
    "node_id": UUID(int=1), "name": "one", "release": "0.1.0", "started_at": NOW, "seen_at": NOW,
    "seen_seconds_ago": 1.0, "generation": 5, "reached_at": NOW, "stage": "on", "source": "database:stage",
    "alarm": False,
}  # fmt: skip
WARNING: dict[str, Any] = {
    "id": UUID(int=2), "actor": "guard", "action": "warn", "from_stage": "on", "to_stage": "on", "why": "slow",
    "words": "Slow.", "numbers": None, "generation": 5, "told_at": None,
}  # fmt: skip


def seen(*, numbers: Any = (), guard: Any = (), **rollout: Any) -> Kpis:  # noqa: ANN401
    """A sound rollout for all, changed."""
    flag = {
        "success": True, "name": "messaging_v2", "stage": "on", "readable": True, "salt": "",
        "stopped": None, "stopped_by": None, "retired": False,
        "generation": 5, "since": NOW - timedelta(days=30), "cohort": [], "nodes": [NODE],
        "changes": [],
    }  # fmt: skip
    counted = {
        "since": NOW - timedelta(days=30), "until": NOW, "v1": ENGINE, "v2": ENGINE, "adoption": [],
        "last_v1_at": None, "complaining_members_last_hour": 0, "orphans": 0, "violations": 0, "violations_at": NOW,
        "violation": None,
    }  # fmt: skip
    kept = {
        "level": 7.3, "judged": 40, "rules": {}, "untold": 0,
        "probe": {"probed_at": NOW, "v2_alone": 0, "both": 0, "code": None},
    }  # fmt: skip
    whole = {"rollout": flag | rollout, "numbers": counted | dict(numbers), "guard": kept | dict(guard)}
    return of(json.encode(whole).decode())


def declaring(stage: str) -> dict[str, Any]:
    return NODE | {"stage": stage, "source": "environment:stage"}


@pytest.mark.parametrize(
    ("changes", "word", "in_force"),
    [
        ({}, "on", "on"),
        ({"stage": "off"}, "off", "off"),
        ({"stage": "internal"}, "internal", "internal"),
        ({"stage": "percentage:12.5"}, "percentage", "percentage:12.5"),
        ({"stage": "percentage:100"}, "on", "percentage:100"),
        ({"stage": "on", "stopped": "killed"}, "stopped", "off"),
        ({"stage": "true\n", "readable": False}, "unreadable", "off"),
        ({"stage": "off", "nodes": [declaring("on")]}, "declared", "on"),
        ({"stage": "true", "readable": False, "nodes": [declaring("on")]}, "declared", "on"),
        ({"stage": "off", "nodes": [declaring("on"), NODE | {"stage": "off"}]}, "differing", None),
        ({"nodes": []}, "on", "on"),
    ],
)
def test_how_it_stands_in_one_word(changes: dict[str, Any], word: str, in_force: str | None) -> None:
    found = seen(**changes)
    assert (standing(found), found.in_force) == (word, in_force)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"numbers": {"violations": 2}}, ["violations"]),
        ({"guard": {"probe": {"probed_at": NOW, "v2_alone": 1, "both": 0, "code": "rpc_error"}}}, ["probe"]),
        ({"guard": {"level": 99.9}}, []),
        ({"guard": {"level": 100.0}}, ["rising"]),
        ({"guard": {"level": None, "probe": None}}, []),
        ({"changes": [WARNING | {"at": NOW - timedelta(minutes=59)}]}, ["warned"]),
        ({"changes": [WARNING | {"at": NOW - timedelta(minutes=61)}]}, []),
        ({"changes": [WARNING | {"at": NOW - timedelta(minutes=9)}], "since": NOW - timedelta(minutes=8)}, []),
        ({"nodes": []}, ["no_node"]),
        ({"nodes": [NODE | {"generation": 4}]}, ["lagging"]),
        ({"numbers": {"violations_at": NOW - timedelta(minutes=2)}}, ["not_watching"]),
        (
            {
                "guard": {
                    "rules": {"detector": {"thresholds": {}, "dry_run": True, "updated_at": NOW, "updated_by": "o"}}
                }
            },
            ["dry"],
        ),
        ({"guard": {"rules": {"slow": {"thresholds": {}, "dry_run": True, "updated_at": NOW, "updated_by": "o"}}}}, []),
        ({"guard": {"untold": 1}}, ["untold"]),
    ],
)
def test_what_an_operator_should_look_at(changes: dict[str, Any], expected: list[str]) -> None:
    assert concerns(seen(**changes)) == expected


def test_places_on_the_pictures() -> None:
    days = [{"day": "2026-11-20", "v1": 6, "v2": 2, "share": 0.25, "v1_failures": 0, "v2_failures": 0}]
    rates = ENGINE | {"success_rate": 0.9, "success_low": 0.72, "success_high": 1.0, "p50_ms": 30.0, "p95_ms": 900.0}
    found = seen(numbers={"adoption": days, "v2": rates})
    fortnight = charts.days(found)
    assert (len(fortnight), str(fortnight[0].day), str(fortnight[-1].day)) == (14, "2026-11-09", "2026-11-22")
    columns = {str(one.day): (one.low, one.high) for one in charts.columns(fortnight)}
    assert (columns["2026-11-20"], columns["2026-11-21"]) == ((25, 75), (0, 0))
    scale = charts.success(found, 0.97)
    assert (scale.begins, round(scale.goal, 6)) == (70, 90)
    v2, v1 = scale.spans
    assert [round(place or 0, 2) for place in (v2.low, v2.rate, v2.high)] == [6.67, 66.67, 100]
    assert (v1.low, v1.rate, v1.high) == (None, None, None)
    bars = charts.latency(found, 500)
    assert (bars.ends, round(bars.limit, 2)) == (900, 55.56)
    assert [one.length for one in bars.bars] == [100 * 30 / 900, 100, None, None, None, None]
    assert [round(charts.level(value, 1e6), 1) for value in (0.5, 1, 10, 1e3, 1e6, 1e9)] == [0, 0, 16.7, 50, 100, 100]
