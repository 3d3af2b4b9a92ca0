"""While the database is away a write waits for it, and is done once when it is back."""

from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from care_collective.client import CareClient, Unavailable
from care_collective.db.embedded import running
from client.conftest import token
from harness import FIRST_WORDS, Postgres, care, installed
from web_harness import services_for, serving


@pytest.fixture
def engine() -> str:
    """An absence concerns no engine: one is enough."""
    return "v2"


async def test_a_write_waits_for_a_database_that_is_away_and_is_done_once(state_folder: Path) -> None:
    binaries = installed(18)
    assert binaries is not None
    folder, options = state_folder / "away", {"fsync": "off"}
    async with running(folder, binaries=binaries, options=options) as server:
        postgres = Postgres(server)
        await postgres.make_template()
        opened = care(postgres, "care_template", size=2)
        here = await opened.__aenter__()
        town = await here.town()
        helper = await town.member("Hal")
        request = await town.request(await town.member("Olga"))
    services = services_for(here, messaging_v2_rollout="on")
    async with AsyncExitStack() as stack, serving(services) as port, httpx.AsyncClient() as http:
        pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                await stack.enter_async_context(running(folder, binaries=binaries, options=options))

        client = CareClient(f"http://127.0.0.1:{port}", token=token(helper), http=http, sleep=sleep)
        impatient = CareClient(f"http://127.0.0.1:{port}", token=token(helper), http=http, attempts=1)
        with pytest.raises(Unavailable) as caught:
            await impatient.messaging.start_conversation(request, FIRST_WORDS)
        assert caught.value.retry_after == 1
        assert (await client.health.report()).database == "away"
        assert (await client.health.ready()).status == "unavailable"
        assert (await client.health.live()).status == "ok"
        assert pauses == []
        started = await client.messaging.start_conversation(request, FIRST_WORDS, key=caught.value.key)
        assert len(pauses) == 3
        assert all(1 <= pause < 3 for pause in pauses)
        assert not started.replayed
        assert await town.count("care.threads") == 1
        again = await client.messaging.start_conversation(request, FIRST_WORDS, key=caught.value.key)
        assert (again.conversation_id, again.replayed) == (started.conversation_id, True)
        assert (await client.health.ready()).status == "ok"
        await services.close()
        await opened.__aexit__(None, None, None)
