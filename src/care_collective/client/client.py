"""The client itself: puts the rooms together for one caller on one server."""

import asyncio
import random as randomness
import time
from collections.abc import Awaitable, Callable
from typing import Final, Self

import httpx

from care_collective.client.accounts import Accounts
from care_collective.client.applications import Applications
from care_collective.client.calls import Calls
from care_collective.client.health import ServerHealth
from care_collective.client.messaging import Messaging
from care_collective.client.notifications import Notifications
from care_collective.client.preferences import Preferences
from care_collective.client.problems import Problems
from care_collective.client.push import Push
from care_collective.client.requests import Requests
from care_collective.client.retries import Retries
from care_collective.client.session import Credentials, Session
from care_collective.client.wire import Wire

_TIMEOUT_SECONDS: Final = 10.0


class CareClient:
    """Everything the API offers, for one caller: `accounts`, `requests`, `messaging`, `problems`, `applications`,
    `preferences`, `notifications`, `push`, `health`.

    `token` is a bearer token; `credentials` are signed in with when first needed and whenever the token has ended;
    with neither, `accounts.sign_in` says who calls. An `http` of one's own brings its time-outs and stays one's own to
    close. `attempts`, 1 or more, bounds how often a call is tried; `wait_for_limits` waits for the end of a limit,
    where that is no more than an hour off, instead of raising RateLimited. `clock` answers seconds, `sleep` takes them,
    `random` answers from 0 up to 1. Errors: ValueError for arguments that cannot be meant.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        credentials: Credentials | None = None,
        http: httpx.AsyncClient | None = None,
        attempts: int = 5,
        wait_for_limits: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        retries = Retries(attempts=attempts, wait_for_limits=wait_for_limits, sleep=sleep, random=random)
        self._http = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS) if http is None else http
        self._is_own = http is None
        wire = Wire(base_url, self._http)
        session = Session(wire, token=token, credentials=credentials, clock=clock)
        calls = Calls(wire, session, retries)
        self.accounts = Accounts(calls, session)
        self.requests = Requests(calls)
        self.messaging = Messaging(calls)
        self.problems = Problems(calls)
        self.applications = Applications(calls)
        self.preferences = Preferences(calls)
        self.notifications = Notifications(calls)
        self.push = Push(calls)
        self.health = ServerHealth(calls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connections that this client opened itself."""
        if self._is_own:
            await self._http.aclose()
