"""What database tests stand on: real servers, databases made from a migrated template, and a town to live in."""

import json
import os
import secrets
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from care_collective.db.call import Answer, Caller, Database
from care_collective.db.embedded import Binaries, Server, find_binaries
from care_collective.db.migrate import migrate
from care_collective.db.pool import make_pool

_MEMORY = Path("/dev/shm")
FIRST_WORDS = "Hello, I live two streets away and can help on Friday."
_numbers = count(1)


def installed(version: int) -> Binaries | None:
    """The binaries of a PostgreSQL major version on this machine, or None."""
    if version == 18:
        return find_binaries()
    folder = Path(f"/usr/lib/postgresql/{version}/bin")
    if (folder / "postgres").exists():
        return find_binaries(folder)
    if os.environ.get("CI"):
        raise RuntimeError(f"PostgreSQL {version} is missing, and CI tests on it")
    return None


def free_port() -> int:
    """A port of this machine on which nobody listens.

    It is none of those that a system gives to whoever binds or connects without naming one: other workers do that all
    the time, also between this and its use, or while what listens there is killed and started again.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as listening, suppress(OSError):
            listening.bind(("127.0.0.1", port))
            return port


def in_memory() -> Path | None:
    """Where clusters lie, thousands of small files each: in memory, if there is room and programs may run there.

    Crashes are none the less what they are on a disk: what a killed process has written is the kernel's to keep.
    """
    roomy = os.access(_MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(_MEMORY).free > 4 << 30
    return _MEMORY if roomy and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC else None


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server and the template that its databases are made from."""

    server: Server

    async def make_template(self) -> None:
        """Creates and migrates the template once."""
        await self._admin("create database care_template")
        connection = await asyncpg.connect(self.server.dsn(database="care_template"))
        await migrate(connection)
        await connection.close()

    async def create(self, *, template: str = "care_template") -> str:
        """A new database, by name."""
        name = f"care_{next(_numbers)}"
        # Files are copied in a tenth of the time where they are in memory, and in twice of it where they are not.
        strategy = "file_copy" if _MEMORY in self.server.data_dir.parents else "wal_log"
        await self._admin(
            f"create database {name} template {template} strategy {strategy}",
            # Rights on the database itself are not copied from a template.
            f"revoke temporary on database {name} from public",
        )
        return name

    async def drop(self, name: str) -> None:
        """Removes a database, whoever is still in it."""
        await self._admin(f"drop database {name} with (force)")

    async def _admin(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.server.dsn())
        for statement in statements:
            await connection.execute(statement)
        await connection.close()


@dataclass(frozen=True, slots=True)
class Care:
    """A migrated database: `database` calls functions as the web process does, `owner` looks behind them."""

    name: str
    server: Server
    database: Database
    owner: asyncpg.Pool

    async def connect(self, user: str = "postgres") -> asyncpg.Connection:
        """A connection of one's own, for interleavings; the caller closes it."""
        connection = await asyncpg.connect(self.server.dsn(user=user, database=self.name))
        await connection.execute("set timezone = 'UTC'")
        return connection

    async def town(self, **settings: object) -> "Town":
        """A new community of its own; `limits` raises the limits of contract.md."""
        number = next(_numbers)
        # Two communities in every database: nobody may live on there being only one.
        await self.owner.execute(
            "insert into public.communities (slug, name) values ('elsewhere', 'Elsewhere') on conflict do nothing"
        )
        identity = await self.owner.fetchval(
            "insert into public.communities (slug, name, hosts, settings) values ($1, $2, $3, $4) returning id",
            f"town-{number}",
            f"Town {number}",
            [f"town-{number}.example"],
            json.dumps(settings),
        )
        return Town(self, identity, f"town-{number}.example")

    async def violations(self, community_id: UUID | None = None) -> list[tuple[str, str]]:
        """Kind and engine of every violation, of one community or of all."""
        rows = await self.owner.fetch("select * from care.violations()")
        return sorted((r["kind"], r["engine"]) for r in rows if community_id in (None, r["community_id"]))


@asynccontextmanager
async def care(postgres: Postgres, name: str, *, size: int = 24) -> AsyncIterator[Care]:
    """Opens a database with the two pools a test needs."""
    owner = await asyncpg.create_pool(
        postgres.server.dsn(database=name), min_size=1, max_size=4, server_settings={"timezone": "UTC"}
    )
    pool = await make_pool(postgres.server.dsn(user="care_app", database=name), size=size)
    try:
        yield Care(name, postgres.server, Database(pool), owner)
    finally:
        await pool.close()
        await owner.close()


@dataclass(frozen=True, slots=True)
class Person:
    """A member of a town."""

    town: "Town" = field(repr=False)
    user_id: UUID
    name: str

    def caller(self, key: str | None = None) -> Caller:
        """The identity the web process would pass, with an idempotency key where one is given."""
        return Caller(self.user_id, self.town.community_id, key)

    async def call(self, function: str, *, key: str | None = None, **arguments: object) -> dict[str, Any]:
        """Calls a function as this person and decodes its answer, success or refusal."""
        answer = await self.answer(function, key=key, **arguments)
        return json.loads(answer.text)  # type: ignore[no-any-return]

    async def answer(self, function: str, *, key: str | None = None, **arguments: object) -> Answer:
        """As call, with the response headers."""
        named = {f"p_{name}": value for name, value in arguments.items()}
        schema = "" if "." in function else "public."
        return await self.town.care.database.call(f"{schema}{function}", self.caller(key), **named)

    async def offer_v2(self, request: UUID, words: str = FIRST_WORDS, *, key: str | None = None) -> dict[str, Any]:
        """Offers help in V2."""
        return await self.call(
            "create_conversation_atomic",
            key=key,
            help_request_id=request,
            helper_id=self.user_id,
            initial_message=words,
        )

    async def send(self, conversation: UUID | str, words: str, *, key: str | None = None) -> dict[str, Any]:
        """Writes a message."""
        return await self.call(
            "send_message_v2",
            key=key,
            conversation_id=UUID(str(conversation)),
            sender_id=self.user_id,
            content=words,
        )


@dataclass(frozen=True, slots=True)
class Town:
    """A community of a test, with people and requests made straight in the tables."""

    care: Care = field(repr=False)
    community_id: UUID
    host: str

    async def member(self, name: str = "Ann", *, status: str = "approved", coordinator: bool = False) -> Person:
        """A member in the given approval state, who could sign in with their e-mail address if they had a password."""
        user_id = uuid4()
        await self.care.owner.execute(
            "insert into care.users (id, email) values ($1, $2)",
            user_id,
            f"{name.lower()}-{user_id.hex[:12]}@example.org",
        )
        await self.care.owner.execute(
            "insert into public.profiles (community_id, user_id, display_name, verification_status, is_coordinator) "
            "values ($1, $2, $3, $4, $5)",
            self.community_id,
            user_id,
            name,
            status,
            coordinator,
        )
        return Person(self, user_id, name)

    async def request(self, owner: Person, *, title: str = "Groceries on Friday", status: str = "open") -> UUID:
        """A help request in the given state; `in_progress` has a helper of its own."""
        helper = (await self.member("Earlier")).user_id if status == "in_progress" else None
        value = await self.care.owner.fetchval(
            "insert into public.help_requests (community_id, user_id, title, category, status, helper_id) "
            "values ($1, $2, $3, 'groceries-meals', $4, $5) returning id",
            self.community_id,
            owner.user_id,
            title,
            status,
            helper,
        )
        return UUID(str(value))

    async def fill(self, conversation: UUID | str, one: Person, other: Person, count: int) -> None:
        """Writes `Line 1` to `Line count` into a thread of either engine, both people in turn, past every limit."""
        ids = self.community_id, UUID(str(conversation))
        version = await self.care.owner.fetchval(
            "select version from care.threads where community_id = $1 and id = $2", *ids
        )
        suffix = "_v2" if version == "v2" else ""
        await self.care.owner.execute(
            f"insert into public.messages{suffix} "
            "(community_id, conversation_id, seq, sender_id, recipient_id, content) "
            "select $1, $2, n, case n % 2 when 1 then $3::uuid else $4::uuid end, "
            "case n % 2 when 1 then $4::uuid else $3::uuid end, 'Line ' || n from generate_series(1, $5) n",
            *ids, one.user_id, other.user_id, count,
        )  # fmt: skip
        await self.care.owner.execute(
            f"update public.conversations{suffix} set last_seq = $3 where community_id = $1 and id = $2", *ids, count
        )

    async def coordinate(self, person: Person) -> None:
        """Makes a member a coordinator."""
        await self.care.owner.execute(
            "update public.profiles set is_coordinator = true where community_id = $1 and user_id = $2",
            self.community_id,
            person.user_id,
        )

    async def restrict(self, person: Person, kind: str, *, until: str | None = None, why: str = "Sent adverts") -> None:
        """Restricts a member; `until` is an interval from now, a day for a suspension where it is not given."""
        if kind == "suspended" and until is None:
            until = "1 day"
        await self.care.owner.execute(
            "insert into public.user_restrictions (community_id, user_id, kind, why, until) "
            "values ($1, $2, $3, $4, now() + $5::text::interval)",
            self.community_id,
            person.user_id,
            kind,
            why,
            until,
        )

    async def block(self, blocker: Person, blocked: Person) -> None:
        """Blocks one member for another."""
        await self.care.owner.execute(
            "insert into public.user_blocks (community_id, blocker_id, blocked_id) values ($1, $2, $3)",
            self.community_id,
            blocker.user_id,
            blocked.user_id,
        )

    async def count(self, table: str, condition: str = "true") -> int:
        """How many rows of this community a table holds."""
        value = await self.care.owner.fetchval(
            f"select count(*) from {table} where community_id = $1 and {condition}", self.community_id
        )
        return int(value)
