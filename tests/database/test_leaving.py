"""Rule 17: who deletes their account leaves readable tombstones, and nothing else of their own is anywhere."""

import json
from uuid import UUID, uuid4

import pytest

from database.steps import V1, V2, Stage, code
from harness import Care, Person, Town

pytestmark = pytest.mark.alike

# Columns that name a row, a place or a node, never a person; those of any other name do, or say here why not.
NO_PERSON = {
    "community_id", "conversation_id", "delivery_id", "held_by", "help_request_id", "id", "initial_message_id",
    "node_id", "place", "place_community", "suspect_communities", "suspects",
}  # fmt: skip
EXPORTED = "exported"
ERASED = "erased"
# What becomes of each column that names a person, in their export and when they leave: or why nothing does.
KEPT = "the row is another person's, or the other person's thread; its id is nobody's once the name is gone"
COLUMNS: dict[str, tuple[str, str]] = {
    "care.audit_log.actor_id": (EXPORTED, "evidence of what an operator did, without the address"),
    "care.credentials.user_id": ("a password's hash proves who one is; the export says since when it is there", ERASED),
    "care.deliveries.user_id": (EXPORTED, ERASED),
    "care.engine_outcomes.user_id": (EXPORTED, "attempts are counted; pruned after 13 months"),
    "care.idempotency_keys.user_id": ("answers that the export has as what they made", ERASED),
    "care.operators.user_id": (EXPORTED, ERASED),
    "care.outbox.actor_id": ("ids of what the export has, for a week", "ids of threads that stay, for a week"),
    "care.problem_reports.user_id": (EXPORTED, "a complaint counts for the guard; its words are erased"),
    "care.push_subscriptions.user_id": (EXPORTED, ERASED),
    "care.rate_counters.user_id": (EXPORTED, ERASED),
    "care.rollout_changes.actor_id": ("the audit log has the same", "evidence of what an operator did"),
    "care.rollout_cohort.user_id": (EXPORTED, ERASED),
    "care.sessions.user_id": (EXPORTED, ERASED),
    "public.conversation_members.user_id": (EXPORTED, "the other one's thread shows what was read; marks are erased"),
    "public.conversation_participants.user_id": ("the two people of a conversation in the export", KEPT),
    "public.conversations.created_by": (EXPORTED, KEPT),
    "public.conversations.requester_id": (EXPORTED, KEPT),
    "public.conversations.status_by": (EXPORTED, KEPT),
    "public.conversations_v2.helper_id": (EXPORTED, KEPT),
    "public.conversations_v2.requester_id": (EXPORTED, KEPT),
    "public.conversations_v2.status_by": (EXPORTED, KEPT),
    "public.help_requests.helper_id": (EXPORTED, KEPT),
    "public.help_requests.user_id": (EXPORTED, "its words are erased, but for a title that another's thread has"),
    "public.messages.recipient_id": (EXPORTED, KEPT),
    "public.messages.sender_id": (EXPORTED, KEPT),
    "public.messages_v2.recipient_id": (EXPORTED, KEPT),
    "public.messages_v2.sender_id": (EXPORTED, KEPT),
    "public.messaging_preferences.user_id": (EXPORTED, ERASED),
    "public.notifications.actor_id": ("what another was told", KEPT),
    "public.notifications.user_id": (EXPORTED, ERASED),
    "public.profiles.decided_by": ("which coordinator it was", KEPT),
    "public.profiles.user_id": (EXPORTED, "the tombstone; its words are erased"),
    "public.user_blocks.blocked_id": ("a block is not disclosed", ERASED),
    "public.user_blocks.blocker_id": (EXPORTED, ERASED),
    "public.user_restrictions.created_by": ("which coordinator it was", KEPT),
    "public.user_restrictions.lifted_by": ("which coordinator it was", KEPT),
    "public.user_restrictions.user_id": (EXPORTED, "what a coordinator decided and why is evidence"),
}
# Unlikely enough to be found by their letters alone, wherever they lie.
MARK = "Xylophia"
# What no call of a member's writes, or none that a test can wait for.
ROWS = """\
insert into care.credentials (user_id, kind, secret) values ($2, 'password', 'a hash of Xylophia');
insert into care.sessions (id_hash, user_id, community_id, expires_at)
select sha256('Xylophia'), $2, $1, now() + interval '1 day';
insert into care.sign_in_attempts (account, address, window_start, used)
select encode(sha256(u.email::bytea), 'hex'), 'Xylophias address', now(), 1 from care.users u where u.id = $2;
insert into care.operators (user_id, granted_by) values ($2, 'command line');
insert into care.rollout_cohort (flag, user_id, added_by)
select 'messaging_v2', $2, u.email from care.users u where u.id = $2;
insert into public.messaging_preferences (community_id, user_id) values ($1, $2);
insert into public.notifications (community_id, user_id, kind) values ($1, $2, 'membership.approved');
insert into care.deliveries (community_id, user_id, kind, due_at) values ($1, $2, 'digest', now());
insert into care.push_subscriptions (community_id, user_id, endpoint, p256dh, auth)
values ($1, $2, 'https://push.example/Xylophia', repeat('B', 87), repeat('A', 22));
insert into care.engine_outcomes
  (community_id, user_id, help_request_id, version, endpoint, opened_at, kind, duration_ms, node_id)
values ($1, $2, $1, 'v2', 'start-conversation', now(), 'success', 1, $1);
insert into care.audit_log (actor_id, actor, action, subject, allowed, details)
select $2, u.email, 'rollout.set', 'messaging_v2', true, jsonb_build_object('email', u.email)
  from care.users u where u.id = $2;
insert into care.rollout_changes (flag, actor, actor_id, action, words)
select 'messaging_v2', u.email, $2, 'set', 'As ' || u.email || ' asked' from care.users u where u.id = $2"""


async def person_columns(care: Care) -> dict[str, str]:
    """Every column that can name a person, with its table."""
    rows = await care.owner.fetch(
        "select format('%s.%s', n.nspname, c.relname) as table, a.attname as column from pg_attribute a "
        "join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p') "
        "join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname in ('public', 'care') and a.attnum > 0 and not a.attisdropped "
        "and a.atttypid in ('uuid'::regtype, 'uuid[]'::regtype) and not (a.attname = any ($1::text[]))",
        list(NO_PERSON),
    )
    return {f"{row['table']}.{row['column']}": row["table"] for row in rows}


async def test_every_column_that_names_a_person_is_exported_and_erased_or_says_why_not(shared: Care) -> None:
    assert set(await person_columns(shared)) == set(COLUMNS)


async def full_life(town: Town) -> tuple[Person, Person, dict[str, UUID]]:
    """A member with a row of theirs in every table, each word of theirs marked, and who they deal with."""
    me, other = await town.member(MARK), await town.member("Olga")
    owner, who = town.care.owner, (town.community_id, me.user_id)
    await owner.execute(
        "update public.profiles set town = $3, application_words = $3, decision_reason = $3, locale = 'es', "
        "time_zone = 'Europe/Lisbon' where community_id = $1 and user_id = $2",
        *who, f"{MARK}s town",
    )  # fmt: skip
    await owner.execute(
        "insert into public.user_restrictions (community_id, user_id, kind, why, until) "
        "values ($1, $2, 'limited', 'Sent adverts', now() - interval '1 day')", *who,
    )  # fmt: skip
    own: dict[str, UUID] = {}
    for name in ("alone", "answered"):
        made = await me.call("create_help_request", key=f"{MARK} {name}", title=f"{MARK} {name}", category="other",
                             description=f"{MARK} describes", exchange_offer=f"{MARK} gives")  # fmt: skip
        own[name] = UUID(made["help_request_id"])
    own["helped"] = await town.request(other)
    for engine in (V1, V2):
        own[f"answered {engine.version}"] = await engine.opened(
            other if engine is V2 else await town.member("Ann"), own["answered"]
        )
        request = own["helped"] if engine is V2 else await town.request(other)
        own[f"helping {engine.version}"] = await engine.opened(me, request)
        await me.send(own[f"helping {engine.version}"], f"Words in {engine.version}")
    assert (await other.call("accept_offer", conversation_id=own["helping v2"]))["success"]
    declined = await V2.opened(me, await town.request(other))
    await other.call("decline_offer", conversation_id=declined)
    own["declined"] = declined
    assert (await me.call("report_problem", words=f"{MARK} tells", reference=f"{MARK}-1"))["success"]
    await town.block(me, await town.member("Blocked"))
    await town.block(await town.member("Blocker"), me)
    for statement in ROWS.split(";\n"):
        # Both are given to each: a statement that has no use for one names it all the same.
        await owner.execute(f"with given as (select $1::uuid, $2::uuid) {statement}", *who)
    # Somebody else runs the place on.
    await owner.execute("insert into care.operators (user_id, granted_by) values ($1, 'test')", other.user_id)
    return me, other, own


async def holding(care: Care, words: str) -> set[str]:
    """The tables of which a row holds words."""
    tables = [row[0] for row in await care.owner.fetch(
        "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('public', 'care')"
    )]  # fmt: skip
    return {
        name for name in tables
        if await care.owner.fetchval(f"select exists (select 1 from {name} r where strpos(lower(r::text), $1) > 0)",
                                     words.lower())
    }  # fmt: skip


async def test_nothing_of_a_former_member_is_left_but_their_part_of_others_threads(scratch: Care) -> None:
    me, _, own = await full_life(await scratch.town())
    before = await holding(scratch, MARK)
    assert len(before) >= 8
    erased = {name for name, (_, erasure) in COLUMNS.items() if erasure == ERASED}
    assert erased <= await named_in(scratch, me)
    assert await me.call("delete_account", confirm="delete") == {"success": True, "message": "Your account is deleted."}

    # The title of the request that others wrote to them about is part of those threads.
    assert await holding(scratch, MARK) == {"public.help_requests"}
    rows = await scratch.owner.fetch(
        "select id, title, description, exchange_offer, status from public.help_requests where user_id = $1", me.user_id
    )
    assert {row["id"]: tuple(row)[1:] for row in rows} == {
        own["alone"]: ("Erased request", None, None, "cancelled"),
        own["answered"]: (f"{MARK} answered", None, None, "cancelled"),
    }
    assert erased & await named_in(scratch, me) == set()
    assert await scratch.violations() == []
    (line,) = await scratch.owner.fetch("select * from care.audit_log where action = 'member.erase'")
    assert (line["actor"], line["subject"]) == ("a member", str(me.user_id))


async def named_in(care: Care, person: Person) -> set[str]:
    """The columns in which a person stands."""
    return {
        column for column, table in (await person_columns(care)).items()
        if await care.owner.fetchval(
            f"select exists (select 1 from {table} where {column.rpartition('.')[2]} = $1)", person.user_id
        )
    }  # fmt: skip


async def test_the_others_read_on_and_are_told_once(town: Town) -> None:
    me, other, own = await full_life(town)
    read = {
        name: (await other.call("get_messages", conversation_id=own[name]))["messages"]
        for name in ("answered v2", "helping v1", "helping v2", "declined")
    }
    await town.care.owner.execute("delete from public.notifications where community_id = $1", town.community_id)
    assert (await me.call("delete_account", confirm="delete"))["success"]

    shown = {item["id"]: item for item in (await other.call("list_conversations"))["conversations"]}
    for name, messages in read.items():
        thread = await other.call("get_messages", conversation_id=own[name])
        assert thread["messages"] == messages
        item = shown[str(own[name])]
        assert (item["status"], item["may_reopen"]) == ("declined" if name == "declined" else "closed", False)
        assert item["other"] | {"user_id": None} == {
            "user_id": None, "display_name": "Former member", "town": None, "deleted": True
        }  # fmt: skip
        assert code(await other.send(own[name], "Are you there?")) == "permission_denied/not_active"
        assert code(await other.call("reopen_conversation", conversation_id=own[name])) == "permission_denied/role"
    # The request that they were to help with takes offers again.
    helped = await other.call("get_help_request", help_request_id=own["helped"])
    assert (helped["help_request"]["status"], helped["help_request"]["helper_id"]) == ("open", None)
    assert code(await other.call("accept_offer", conversation_id=own["helping v2"])) == "conflict/state"
    told = await town.care.owner.fetch(
        "select kind, conversation_id from public.notifications where user_id = $1", other.user_id
    )
    assert sorted((row["kind"], row["conversation_id"]) for row in told) == sorted([
        ("request.cancelled", own["answered v2"]), ("helper.stepped_back", own["helping v2"]),
        ("conversation.closed", own["helping v1"]),
    ])  # fmt: skip
    topics = await town.care.owner.fetch(
        "select topic, count(*) as n from care.outbox where actor_id = $1 and created_at > now() - interval '1 minute' "
        "and topic in ('request.cancelled', 'helper.stepped_back', 'conversation.closed') group by 1", me.user_id,
    )  # fmt: skip
    assert {row["topic"]: row["n"] for row in topics} == {
        "request.cancelled": 2, "helper.stepped_back": 1, "conversation.closed": 4
    }  # fmt: skip
    # Who never wrote about it does not find a former member's request.
    stranger = await town.member()
    assert code(await stranger.call("get_help_request", help_request_id=own["answered"])) == "not_found"
    titles = [r["title"] for r in (await stranger.call("list_help_requests", status="all"))["help_requests"]]
    assert not any(MARK in title or title == "Erased request" for title in titles)


async def test_a_deleted_member_is_nobody_at_once_whatever_key_or_confirmation(stage: Stage) -> None:
    sent = await stage.helper.send(stage.conversation, "Hello", key="k")
    assert sent["success"]
    for wrong in (None, "", "no", "Delete", " delete"):
        answer = await stage.helper.call("delete_account", confirm=wrong)
        assert (code(answer), list(answer["fields"])) == ("validation_error", ["confirm"])
    assert (await stage.helper.call("delete_account", confirm="delete", key="k"))["success"]
    for answer in (
        await stage.helper.send(stage.conversation, "Hello", key="k"),
        await stage.helper.call("delete_account", confirm="delete", key="k"),
        await stage.helper.call("export_my_data"),
        await stage.helper.call("care.me"),
        await stage.helper.offer_v2(stage.open_request),
    ):
        assert code(answer) == "permission_denied/identity"


async def test_the_last_coordinator_and_the_last_operator_are_told_what_to_do_first(scratch: Care) -> None:
    town = await scratch.town()
    rosa = await town.member("Rosa", coordinator=True)
    assert code(await rosa.call("delete_account", confirm="delete")) == "conflict/last_coordinator"
    second = await town.member("Theo", coordinator=True)
    await scratch.owner.execute("insert into care.operators values ($1, 'test')", rosa.user_id)
    refused = await rosa.call("delete_account", confirm="delete")
    assert code(refused) == "conflict/last_operator"
    assert await scratch.owner.fetchval("select count(*) from care.audit_log") == 0
    await scratch.owner.execute("insert into care.operators values ($1, 'test')", second.user_id)
    assert (await rosa.call("delete_account", confirm="delete"))["success"]
    assert code(await second.call("delete_account", confirm="delete")) == "conflict/last_coordinator"


async def test_of_what_operators_did_only_the_address_of_who_leaves_goes(town: Town) -> None:
    me = await town.member("Ann")
    mine = await town.care.owner.fetchval("select email from care.users where id = $1", me.user_id)
    # Anybody may join with the end of another's address, or its beginning.
    others = [f"jo.{mine}", f"jo-{mine}", f"{mine}.uk", f"{mine}x"]
    texts = [f"asked by {one}, twice" for one in (mine, *others)]
    flag = f"of-{me.user_id.hex}"
    for text in texts:
        await town.care.owner.execute(
            "insert into care.audit_log (actor, action, subject, allowed, details) "
            "values ('test', 'test', $1, true, $2)",
            flag, json.dumps({"why": text, "email": text.split()[2].rstrip(",")}),
        )  # fmt: skip
        await town.care.owner.execute(
            "insert into care.rollout_changes (flag, actor, action, words) values ('messaging_v2', $1, 'warn', $2)",
            flag, text,
        )  # fmt: skip
    assert (await me.call("delete_account", confirm="delete"))["success"]
    details = await town.care.owner.fetch("select details from care.audit_log where subject = $1 order by at", flag)
    assert [json.loads(row["details"]).get("why") for row in details] == [None, *texts[1:]]
    words = await town.care.owner.fetch("select words from care.rollout_changes where actor = $1 order by at", flag)
    assert [row["words"] for row in words] == ["asked by former member, twice", *texts[1:]]


async def test_the_account_stays_as_long_as_another_community_has_them(town: Town) -> None:
    abroad = await town.care.town()
    me = await town.member(MARK)
    email = await town.care.owner.fetchval("select email from care.users where id = $1", me.user_id)
    await town.care.owner.execute("insert into care.credentials values ($1, 'password', 'hash')", me.user_id)
    join = {"p_user_id": me.user_id, "p_display_name": MARK, "p_town": None, "p_application_words": None}
    join_abroad = {"p_community_id": abroad.community_id, **join}
    assert (await town.care.database.call("care.join_community", **join_abroad)).data()["success"]
    for place in (town, abroad):
        here = {"p_user_id": me.user_id, "p_community_id": place.community_id}
        await town.care.database.value("care.open_session", p_id_hash=uuid4().bytes * 2, p_seconds=60, **here)
    assert (await me.call("delete_account", confirm="delete"))["success"]
    assert (await town.count("care.sessions"), await abroad.count("care.sessions")) == (0, 1)
    assert await town.care.database.value("care.find_credential", p_email=email) is not None
    # What they left is never theirs again; where they live they go on.
    again = await town.care.database.call("care.join_community", p_community_id=town.community_id, **join)
    assert "was deleted here" in again.text
    there = Person(abroad, me.user_id, MARK)
    assert (await there.call("care.me"))["display_name"] == MARK
    assert (await there.call("delete_account", confirm="delete"))["success"]
    assert await town.care.database.value("care.find_credential", p_email=email) is None
    await town.care.database.value("care.store_secret", p_user_id=me.user_id, p_secret="late")
    assert await holding(town.care, email) == set()
    kept = await town.care.owner.fetchval("select count(*) from care.credentials where user_id = $1", me.user_id)
    assert kept == 0


@pytest.mark.parametrize("confirmed", [True, False])
async def test_an_operators_erasure_is_as_whole_and_may_be_repeated(town: Town, confirmed: bool) -> None:
    me, _, _ = await full_life(town)
    if confirmed:
        counted = "select care.counted_violations() -> 'violations'"
        of_v2 = await town.care.owner.fetchval(counted)
        await town.care.owner.execute("update public.profiles set deleted_at = now() where user_id = $1", me.user_id)
        # No engine did it: it is no reason to stop a rollout of V2.
        assert set(await town.care.violations(town.community_id)) == {
            ("former_member_active", "both"), ("former_member_not_erased", "both")
        }  # fmt: skip
        assert await town.care.owner.fetchval(counted) == of_v2
    for _ in range(2):
        assert await town.care.owner.fetchval(
            "select care.erase_again($1, $2, 'command line, test')", town.community_id, me.user_id
        )
    assert await town.care.violations(town.community_id) == []
    assert not await town.care.owner.fetchval("select care.erase_again($1, $1, 'test')", town.community_id)
