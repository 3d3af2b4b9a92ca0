"""What handlers work with: one frozen object a process, made at start and kept in the application's state."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import httpx

from care_collective.accounts.applications import Applications
from care_collective.accounts.jwks import JwksVerifier
from care_collective.accounts.passwords import Passwords
from care_collective.accounts.people import Accounts
from care_collective.accounts.preferences import Preferences
from care_collective.accounts.tokens import SecretVerifier, Verifier
from care_collective.db.call import Database
from care_collective.db.listen import Listener
from care_collective.messaging import atomic, legacy
from care_collective.messaging.service import Messaging
from care_collective.notifications.fanout import Fanout
from care_collective.notifications.live import Hub
from care_collective.notifications.mailer import Connect, Mailer, console
from care_collective.notifications.push import Browsers, Pusher
from care_collective.notifications.relay import Relay
from care_collective.notifications.told import Notifications
from care_collective.operations.smtp import MailServer, mail_host
from care_collective.operations.webpush import PushServices, why_not_offered
from care_collective.requests.service import Requests
from care_collective.rollout import policy
from care_collective.rollout.alerts import Alerts, Sender, make_senders
from care_collective.rollout.guard.watch import Guard
from care_collective.rollout.node import this_node
from care_collective.rollout.outcomes import Outcomes
from care_collective.rollout.store import FlagStore
from care_collective.settings import Settings
from care_collective.web.communities import Communities
from care_collective.web.pages.letters import composer, notice_of


def utc_now() -> datetime:
    """The present moment."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a handler may call. `close` ends what was opened here; the database is its maker's to close.

    `listener`, `fanout`, `relay`, `mailer` and `pusher` run, `flags` follow, `guard` watches and `alerts` tell
    while the application does.
    """

    settings: Settings
    node_id: UUID
    secret_key: str
    database: Database
    listener: Listener
    fanout: Fanout | None
    relay: Relay
    mailer: Mailer
    pusher: Pusher | None
    browsers: Browsers
    live: Hub
    accounts: Accounts
    applications: Applications
    preferences: Preferences
    notifications: Notifications
    passwords: Passwords
    communities: Communities
    requests: Requests
    messaging: Messaging
    flags: FlagStore
    outcomes: Outcomes
    guard: Guard
    alerts: Alerts
    verifier: Verifier | None
    outbound: httpx.AsyncClient
    now: Callable[[], datetime]

    async def close(self) -> None:
        """Ends threads and outbound connections."""
        self.passwords.close()
        if isinstance(self.verifier, JwksVerifier):
            await self.verifier.close()
        if self.pusher is not None:
            await self.pusher.services.close()
        await self.outbound.aclose()


def make_services(
    settings: Settings,
    database: Database,
    listener: Listener,
    *,
    reserved: Database | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Services:
    """The services of a process. Errors: SettingsError where a setting is missing that serving needs.

    `reserved` is the database for what has to work while members' calls use up every connection: the flag, the counts
    and the guard's looks. Without it they share.
    """
    reserved = reserved or database
    declared = policy.Declared.of(settings.messaging_v2_enabled, settings.messaging_v2_rollout)
    node = this_node(settings.port)
    flags = FlagStore(reserved, listener, node, declared)
    outcomes = Outcomes(reserved, node.id)
    hasher = Passwords()
    outbound = httpx.AsyncClient()
    secret_key = settings.require_secret_key()
    pusher = _pusher(settings, secret_key, database)
    live = Hub(listener)
    fanout = _fanout(settings, live)
    return Services(
        settings=settings,
        node_id=node.id,
        secret_key=secret_key,
        database=database,
        listener=listener,
        fanout=fanout,
        relay=Relay(database, fanout),
        mailer=Mailer(
            database, composer(settings.base_url, secret_key, now), _mail_server(settings), push=pusher is not None
        ),
        pusher=pusher,
        browsers=Browsers(database),
        live=live,
        accounts=Accounts(database, hasher),
        applications=Applications(database),
        preferences=Preferences(database),
        notifications=Notifications(database),
        passwords=hasher,
        communities=Communities(database),
        requests=Requests(database),
        messaging=Messaging(database, flags.decide, outcomes=outcomes),
        flags=flags,
        outcomes=outcomes,
        guard=Guard(reserved, {"v1": legacy.start, "v2": atomic.start}, members=database, node_id=node.id),
        alerts=Alerts(database, _senders(settings, outbound)),
        verifier=_verifier(settings, outbound),
        outbound=outbound,
        now=now,
    )


def _verifier(settings: Settings, outbound: httpx.AsyncClient) -> Verifier | None:
    if settings.jwt_secret is not None:
        return SecretVerifier(settings.jwt_secret)
    if settings.jwks_url is not None:
        return JwksVerifier(settings.jwks_url, outbound, time.monotonic)
    return None


def _fanout(settings: Settings, live: Hub) -> Fanout | None:
    if settings.redis_url is None:
        return None
    made = Fanout(settings.redis_url)
    made.subscribe(live.heard, reread=live.reread)
    return made


def _senders(settings: Settings, outbound: httpx.AsyncClient) -> dict[str, Sender]:
    return make_senders(
        smtp_url=settings.smtp_url, alert_url=settings.alert_url, base_url=settings.base_url, outbound=outbound
    )


def _mail_server(settings: Settings) -> Connect:
    if settings.smtp_url is None:
        return console
    return MailServer(settings.smtp_url, mail_host(settings.base_url)).connected


def _pusher(settings: Settings, secret_key: str, database: Database) -> Pusher | None:
    if why_not_offered(settings.base_url) is not None:
        return None
    contact = f"care-collective@{mail_host(settings.base_url)}"
    return Pusher(database, notice_of, PushServices(secret_key, contact))
