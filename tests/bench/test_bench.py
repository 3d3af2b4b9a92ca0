"""The benchmarks run and say what they found. No figure of speed is judged here: this machine does other things too."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from care_collective.bench import compare, live, scale
from care_collective.bench.doors import Effort
from care_collective.bench.load import Links, request
from care_collective.bench.readers import Readers
from care_collective.bench.report import Report, at_least, at_most, joined
from care_collective.bench.stand import OWNERS, database, stand
from care_collective.errors import CareError
from cli.process import Shell


@pytest.fixture(scope="module")
def shell(state_folder: Path) -> Shell:
    """A state folder that no benchmark may touch."""
    return Shell(state_folder / "bench")


@contextmanager
def _site(*answers: bytes) -> Iterator[int]:
    """A server on this machine that gives these answers, one for each connection's request, whatever is asked."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        # Who does not like an answer leaves, with the rest of it unread.
        with listening, listening.accept()[0] as one, suppress(ConnectionResetError, BrokenPipeError):
            for answer in answers:
                one.recv(65536)
                one.sendall(answer[:20])
                one.sendall(answer[20:])
            one.recv(65536)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        thread.join()


def _asked() -> Iterator[bytes]:
    while True:
        yield request("GET", "/", "token")


def test_a_goal_is_met_at_its_bound_and_missed_past_it() -> None:
    assert at_least("a", 0.5, 0.5).met
    assert not at_least("a", 0.499, 0.5).met
    assert at_most("a", 2.0, 2.0).met
    assert not at_most("a", 2.01, 2.0).met
    met, missed = Report([at_most("a", 1, 2)]), Report([at_most("b", 3, 2)])
    assert (met.met, missed.met, joined([met, missed]).met) == (True, False, False)


def test_an_answer_in_two_pieces_is_one() -> None:
    good = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}"
    with _site(good, good) as port, Links("127.0.0.1", port, 1) as links:
        run = links.open_loop(_asked(), rate=50, seconds=0.04, told=lambda _: None)
    assert len(run.latencies) == 2


def test_a_refusal_ends_a_run() -> None:
    bad = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n{}"
    with (
        _site(bad) as port,
        Links("127.0.0.1", port, 1) as links,
        pytest.raises(CareError, match="answered 429"),
    ):
        links.closed_loop([_asked()], 1)


def test_a_verb_is_measured_over_http_and_by_pgbench(shell: Shell) -> None:
    done = shell.run("bench", "send", "--rounds", "1", "--seconds", "1", "--connections", "1", "--json", "-")
    (row,) = done.json["rows"]
    assert done.code == (0 if row["met"] else 1)
    assert row["figure"] > 0
    assert row["detail"]["http_per_second"] > 0
    assert row["detail"]["pgbench_per_second"] > 0
    assert not shell.state.exists() or not list(shell.state.iterdir())


async def test_what_is_measured_is_sound() -> None:
    async with stand(tell=lambda _: None) as on, database(on, "care", members=2, requests=3, each=3) as owner:
        await owner.fetchval("select bench.make_messages(1, 2, $1, 5)", OWNERS)
        assert not await owner.fetch("select * from care.violations()")


async def test_cut_calls_leave_orphans_in_v1_alone() -> None:
    report = await compare.measure(Effort(rounds=1, seconds=1, connections=1), cuts=15, tell=lambda _: None)
    table = {line["what"]: (line["V1"], line["V2"]) for line in report.tables["V2 against V1"]}
    assert table["round trips"] == (3, 1)
    assert table["atomic"] == ("no, 3 transactions", "yes, one transaction")
    assert table["success rate"] == ("100.00 %", "100.00 %")
    in_v1, in_v2 = table["orphans left"]
    assert in_v1 > 0
    assert in_v2 == 0
    assert table["orphans after the retries"] == (0, 0)
    assert table["helpers well after one retry"] == table["openings cut"]


async def test_a_page_of_a_busy_inbox_is_one_index_scan() -> None:
    report = await scale.measure_inbox(Effort(rounds=1, seconds=1), size=20_000, tell=lambda _: None)
    scan = next(row for row in report.rows if row.name == "inbox: the page is one index scan")
    assert scan.met, scan.detail


async def test_open_streams_are_read_by_a_process_that_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, less in (("_TALKED_SECONDS", 1), ("_WARM_SECONDS", 0.1)):
        monkeypatch.setattr(live, name, less)
    told: list[str] = []
    report = await live.measure(Effort(rounds=1, seconds=1, connections=1), streams=6, tell=told.append)
    seen, held, commit, *writes = report.rows
    assert (seen.detail["messages"], seen.detail["streams"]) == (20, 6)
    assert seen.figure >= seen.detail["p50_ms"] > seen.detail["of_that_the_write_p50_ms"] * 0.5 > 0
    assert held.unit == "KB"
    assert commit.detail["p50_ms"] == pytest.approx(commit.figure * commit.detail["p50_ms_with_none"], rel=0.1)
    assert [row.detail["ratios"][0] > 0 for row in writes] == [True, True]
    assert told[-1] == "live: round 1 of 1"


def test_a_stream_that_is_refused_ends_the_measuring() -> None:
    bad = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}"
    with _site(bad) as port, pytest.raises(CareError, match="refused a stream"):
        Readers("127.0.0.1", port, [b"GET / HTTP/1.1\r\n\r\n"])


def test_the_flag_is_measured_and_shown_as_a_table(shell: Shell, tmp_path: Path) -> None:
    done = shell.run("bench", "flag", "--json", str(tmp_path / "flag.json"))
    assert done.out.startswith("what")
    assert "flag: the policy function" in done.out
    assert "flag: through OpenFeature" in done.out
    assert (tmp_path / "flag.json").read_text().startswith("{")


def test_wrong_usage_is_told_apart_from_a_missed_goal(shell: Shell) -> None:
    assert shell.run("bench", "send", "--rounds", "0").code == 2
