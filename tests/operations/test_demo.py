"""The sample community: what is in it, that its making can be broken off, and that it stays on this machine."""

from collections import Counter
from typing import Any

import asyncpg
import pytest

from care_collective.db.call import Answer, Caller, Database
from care_collective.errors import CareError, Code, SettingsError
from care_collective.operations import people
from care_collective.operations.demo import demo_settings
from care_collective.operations.demo.sample import Builder, Town, read_town
from care_collective.rollout import policy
from harness import Care

HOME = {"HOME": "/home/rosa"}


class _Broken(Database):
    """Falls silent after a number of calls, as a process does that is killed."""

    def __init__(self, pool: asyncpg.Pool, calls: int) -> None:
        super().__init__(pool)
        self._left = calls

    async def call(self, function: str, caller: Caller = Caller(), /, **arguments: object) -> Answer:  # noqa: B008
        """Calls, while calls are left."""
        self._left -= 1
        if self._left < 0:
            raise CareError(Code.UNAVAILABLE)
        return await super().call(function, caller, **arguments)


async def _hash(password: str) -> str:
    return f"hash of {password}"


async def _community(owner: Database, town: Town) -> people.Community:
    known = await people.list_communities(owner)
    return (
        known[0]
        if known
        else await people.add_community(
            owner,
            slug=town.slug,
            name=town.name,
            hosts=[],
            time_zone=town.time_zone,
            emergency_line=town.emergency_line,
        )
    )


async def _make(care: Care, app: Database) -> people.Community:
    town, owner = read_town(), Database(care.owner)
    community = await _community(owner, town)
    await Builder(town, owner, app).make(community, hash_password=_hash)
    return (await people.list_communities(owner))[0]


async def _counts(care: Care, *tables: str) -> list[int]:
    return [await care.owner.fetchval(f"select count(*) from {table}") for table in tables]


EVERYTHING = (
    *("public.profiles", "public.help_requests", "public.conversations", "public.messages"),
    *("public.conversations_v2", "public.messages_v2", "public.conversation_members", "public.user_restrictions"),
)


async def test_it_shows_every_kind_of_request_member_and_thread(scratch: Care) -> None:
    community = await _make(scratch, scratch.database)
    assert community.settings["sample"] == "finished"

    async def kinds(expression: str, table: str) -> Counter[Any]:
        return Counter(row[0] for row in await scratch.owner.fetch(f"select {expression} from {table}"))

    assert len(await kinds("category", "public.help_requests")) == 7
    assert set(await kinds("urgency", "public.help_requests")) == {"normal", "urgent", "critical"}
    statuses = await kinds("status", "public.help_requests")
    assert set(statuses) == {"open", "in_progress", "completed", "cancelled", "closed"}
    assert statuses.total() == 20
    assert set(await kinds("verification_status", "public.profiles")) == {"pending", "approved", "rejected"}
    assert await kinds("kind", "public.user_restrictions") == {"suspended": 1}
    threads = await kinds("version", "care.threads")
    assert min(threads["v1"], threads["v2"]) >= 5
    assert set(await kinds("status", "care.threads")) == {"active", "declined", "closed"}
    assert set(await kinds("unread > 0", "public.conversation_members")) == {True, False}
    assert await scratch.violations() == [("orphan", "v1")]


async def test_its_times_are_past_and_in_order(scratch: Care) -> None:
    await _make(scratch, scratch.database)
    wrong = await scratch.owner.fetchval(
        "select count(*) from care.thread_messages m "
        "join care.threads t on t.id = m.conversation_id "
        "join public.help_requests r on r.id = t.help_request_id "
        "left join care.thread_messages n on n.conversation_id = m.conversation_id and n.seq = m.seq + 1 "
        "where m.created_at <= r.created_at or m.created_at >= coalesce(n.created_at, now())"
    )
    assert wrong == 0


async def test_its_members_have_read_what_they_were_told_but_for_what_is_unread_and_get_no_letters(
    scratch: Care,
) -> None:
    await _make(scratch, scratch.database)
    told = await scratch.owner.fetch(
        "select n.kind, n.read_at is null as new, m.unread > 0 as unread,"
        " n.created_at > now() - interval '1 hour' as now"
        " from public.notifications n"
        " left join public.conversation_members m using (community_id, user_id, conversation_id)"
    )
    assert {one["kind"] for one in told if one["new"]} == {"message.received", "offer.received", "membership.waiting"}
    assert all(one["unread"] for one in told if one["new"] and one["kind"] != "membership.waiting")
    assert not any(one["now"] for one in told)
    assert await scratch.database.value("care.plan_deliveries", p_limit=200) == 0
    assert await _counts(scratch, "care.deliveries", "public.notifications where due_at is not null") == [0, 0]


@pytest.mark.parametrize("calls", [9, 40, 90, 150])
async def test_a_making_that_was_broken_off_is_taken_up(scratch: Care, calls: int) -> None:
    with pytest.raises(CareError):
        await _make(scratch, _Broken(scratch.database.pool, calls))
    await _make(scratch, scratch.database)
    town = read_town()
    talks = [thread for request in town.requests for thread in request.threads]
    expected = [len([t for t in talks if t.engine == engine]) for engine in ("v1", "v2")]
    lines = {e: sum(len(t.lines) for t in talks if t.engine == e and not t.orphan) for e in ("v1", "v2")}
    assert await _counts(scratch, *EVERYTHING) == [
        len(town.people),
        len(town.requests),
        expected[0],
        lines["v1"],
        expected[1],
        lines["v2"] - expected[1],
        2 * (sum(expected) - 1),
        1,
    ]
    assert await scratch.violations() == [("orphan", "v1")]


async def test_all_limits_are_untouched(scratch: Care) -> None:
    await _make(scratch, scratch.database)
    assert await _counts(scratch, "care.rate_counters") == [0]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_it_listens_on_this_machine(host: str) -> None:
    assert demo_settings({**HOME, "CARE_HOST": host}).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "care.example.org"])
def test_it_listens_nowhere_else(host: str) -> None:
    with pytest.raises(SettingsError, match="listens on this machine only"):
        demo_settings({**HOME, "CARE_HOST": host})


def test_it_leaves_a_real_deployment_alone() -> None:
    settings = demo_settings(
        {
            **HOME,
            "CARE_DATA_DIR": "/srv/care",
            "DATABASE_URL": "postgresql://care@localhost/care",
            "CARE_SMTP_URL": "smtp://mail.example.org:587",
            "CARE_BASE_URL": "https://care.example.org",
        }
    )
    assert settings.embedded
    assert settings.smtp_url is None
    assert settings.base_url == "http://127.0.0.1:8000"
    assert str(settings.data_dir) == "/srv/care/demo"


def test_everybody_named_in_the_sample_lives_there() -> None:
    town = read_town()
    keys = {person.key for person in town.people}
    assert len(keys) == len(town.people)
    assert {request.by for request in town.requests} <= keys
    assert {thread.helper for request in town.requests for thread in request.threads} <= keys


@pytest.mark.parametrize(
    ("environ", "stage"),
    [
        ({}, "on"),
        ({"MESSAGING_V2_ROLLOUT": "off"}, "off"),
        ({"MESSAGING_V2_ENABLED": "false"}, "off"),
        ({"MESSAGING_V2_ENABLED": "true"}, "on"),
    ],
)
def test_a_visitor_tries_v2_unless_the_flag_says_otherwise(environ: dict[str, str], stage: str) -> None:
    known = demo_settings({**HOME, **environ})

    declared = policy.Declared.of(known.messaging_v2_enabled, known.messaging_v2_rollout)
    assert str(policy.in_force(declared).stage) == stage
