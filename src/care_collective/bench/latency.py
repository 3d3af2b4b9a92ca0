"""How long members wait at a steady rate of mixed requests that come whether or not earlier ones are answered.

A quarter of them opens a conversation, a quarter writes a message, the rest reads inboxes and threads. Latency counts
from when a request was due, so that a stall of the site is felt by all that fall into it.
"""

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Final

from care_collective.bench.doors import EACH, FIRST_WORDS, WORDS
from care_collective.bench.load import Links, request
from care_collective.bench.report import Report, at_most, percentile
from care_collective.bench.stand import (
    CONVERSATION,
    HELPER,
    REQUEST,
    Site,
    Tell,
    database,
    identity,
    site,
    stand,
)

_RATE: Final = 200
_CONNECTIONS: Final = 64
_MEMBERS: Final = 200
_WARM_SECONDS: Final = 3
_ROOT: Final = "/api/messaging"


async def measure(*, seconds: int, rate: int = _RATE, tell: Tell) -> Report:
    """The rows of a mixed load of `rate` requests a second. An answer that is not 2xx ends it as failed."""
    requests = EACH + rate * (seconds + _WARM_SECONDS) // _MEMBERS + 1
    async with stand(tell=tell) as on:
        tell("Making a community, its people and their requests")
        async with database(on, "care", members=_MEMBERS, requests=requests, each=EACH), site(on, "care") as web:
            feed = _mixed(web)
            with Links(web.host, web.port, _CONNECTIONS) as links:
                await asyncio.to_thread(links.open_loop, feed, rate, _WARM_SECONDS, lambda _: None)
                run = await asyncio.to_thread(
                    links.open_loop, feed, rate, seconds, lambda done: tell(f"latency: {done:.0f} of {seconds} s")
                )
    waits = [1000 * latency for latency in run.latencies]
    detail = {
        "requests": len(waits),
        "a_second": rate,
        "p50_ms": round(percentile(waits, 0.5), 2),
        "longest_ms": round(max(waits), 1),
    }
    return Report(
        [
            at_most("latency: p95 at a steady rate", round(percentile(waits, 0.95), 2), 25, unit="ms", **detail),
            at_most("latency: p99 at a steady rate", round(percentile(waits, 0.99), 2), 100, unit="ms", **detail),
        ]
    )


def _mixed(web: Site) -> Iterator[bytes]:
    """Requests of all members in turn."""
    tokens = [web.token(identity(HELPER, number)) for number in range(1, _MEMBERS + 1)]
    for i in count():
        number, turn = i % _MEMBERS, i // _MEMBERS
        conversation = identity(CONVERSATION, (number + 1) * 1_000_000 + 1 + turn % EACH)
        key = f"mixed-{i}"
        match (number + turn) % 4:
            case 0:
                place = identity(REQUEST, EACH + 1 + turn)
                body = f'{{"initial_message":"{FIRST_WORDS}"}}'
                path = f"{_ROOT}/help-requests/{place}/start-conversation"
                yield request("POST", path, tokens[number], body=body, key=key)
            case 1:
                path = f"{_ROOT}/conversations/{conversation}/messages"
                yield request("POST", path, tokens[number], body=f'{{"content":"{WORDS}"}}', key=key)
            case 2:
                yield request("GET", f"{_ROOT}/conversations", tokens[number])
            case _:
                yield request("GET", f"{_ROOT}/conversations/{conversation}/messages", tokens[number])
