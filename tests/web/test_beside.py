"""What runs beside the requests of a process: nothing of it ends without a word."""

import asyncio
from dataclasses import replace
from typing import Any, cast

from structlog.testing import capture_logs

from care_collective.notifications.relay import Relay
from care_collective.web.app import running
from harness import Care
from web_harness import services_for


class _Broken:
    """A relay that ends where it was to go on for ever, once it is asked to."""

    def __init__(self) -> None:
        self.ends = asyncio.Event()

    async def run(self) -> None:
        """Ends by a fault that nobody foresaw."""
        await self.ends.wait()
        raise RuntimeError("nobody foresaw this")


async def test_a_task_that_ends_beside_the_requests_is_told_of_once_and_those_that_are_stopped_are_not(
    shared: Care,
) -> None:
    relay = _Broken()
    services = replace(services_for(shared), relay=cast(Relay, relay))
    with capture_logs() as logged:
        async with running(services, None), asyncio.timeout(30):
            relay.ends.set()
            while not _ended(logged):  # noqa: ASYNC110  a line of the log has no event
                await asyncio.sleep(0)
    (line,) = _ended(logged)
    assert "run" in line["task"]
    assert str(line["exc_info"]) == "nobody foresaw this"


def _ended(logged: list[Any]) -> list[Any]:
    return [line for line in logged if line["event"] == "web.task_ended"]
