"""The steps of tests of letters: notifications by hand, planned, leased and settled at moments of their own."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from database.test_quiet import utc
from harness import Care, Person, Town

NOON = utc("2031-06-10 12:00")
NIGHT = utc("2031-06-10 22:00")
MORNING = utc("2031-06-11 08:00")
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


async def notify(
    person: Person,
    at: datetime,
    *,
    kind: str = "message.received",
    actor: Person | None = None,
    request: UUID | None = None,
    conversation: UUID | None = None,
    count: int = 1,
) -> UUID:
    """A notification that is due at a moment."""
    value = await person.town.care.owner.fetchval(
        "insert into public.notifications (community_id, user_id, kind, actor_id, help_request_id, conversation_id, "
        "count, created_at, updated_at, due_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $8, $8) returning id",
        person.town.community_id,
        person.user_id,
        kind,
        actor.user_id if actor else None,
        request,
        conversation,
        count,
        at,
    )
    return UUID(str(value))


async def prefer(person: Person, **values: object) -> None:
    """A member's preferences, the defaults where none is given."""
    names = ", ".join(values)
    places = ", ".join(f"${place}" for place in range(3, 3 + len(values)))
    excluded = ", ".join(f"excluded.{name}" for name in values)
    await person.town.care.owner.execute(
        f"insert into public.messaging_preferences (community_id, user_id, {names}) values ($1, $2, {places}) "
        f"on conflict (community_id, user_id) do update set ({names}) = row({excluded})",
        person.town.community_id,
        person.user_id,
        *values.values(),
    )


async def read(town: Town, *ids: UUID) -> None:
    """Notifications are read."""
    await town.care.owner.execute("update public.notifications set read_at = now() where id = any ($1)", list(ids))


async def mute(person: Person, conversation: UUID, until: datetime) -> None:
    """A member's view of a conversation, muted."""
    await person.town.care.owner.execute(
        "insert into public.conversation_members (community_id, conversation_id, user_id, version, last_activity_at, "
        "muted_until) values ($1, $2, $3, 'v2', now(), $4)",
        person.town.community_id,
        conversation,
        person.user_id,
        until,
    )


async def plan(care: Care, now: datetime) -> None:
    """What is due is planned."""
    while await care.database.value("care.plan_deliveries", p_limit=100, p_now=now):
        pass


async def lease(town: Town, now: datetime, *, seconds: int = 60) -> list[dict[str, Any]]:
    """Leases all that is due, what other tests left behind included; the letters of this community."""
    found: list[dict[str, Any]] = []
    more = True
    while more:
        text = await town.care.database.value(
            "care.lease_deliveries", p_channel="email", p_limit=500, p_lease_seconds=seconds, p_now=now
        )
        answer = json.loads(text)
        found += [one for one in answer["letters"] if one["community"]["id"] == str(town.community_id)]
        more = answer["more"]
    return found


async def settle(
    town: Town, letter: dict[str, Any], outcome: str, now: datetime, error: str | None = None, jitter: float = 0.5
) -> str | None:
    """Notes what came of a letter."""
    state: str | None = await town.care.database.value(
        "care.settle_delivery",
        p_community_id=town.community_id,
        p_id=UUID(letter["id"]),
        p_outcome=outcome,
        p_error=error,
        p_jitter=jitter,
        p_now=now,
    )
    return state


async def deliveries(person: Person) -> list[dict[str, Any]]:
    """A member's deliveries, oldest first."""
    rows = await person.town.care.owner.fetch(
        "select * from care.deliveries where community_id = $1 and user_id = $2 order by created_at, due_at",
        person.town.community_id,
        person.user_id,
    )
    return [dict(row) for row in rows]


async def due(notification: UUID, town: Town) -> datetime | None:
    """When a letter about a notification may be made."""
    value: datetime | None = await town.care.owner.fetchval(
        "select due_at from public.notifications where id = $1", notification
    )
    return value
