"""Fixtures of the tests of SQL alone."""

import pytest

from database.steps import V1, V2, Engine, Stage, stage
from harness import Town


@pytest.fixture(params=[V1, V2], ids=lambda engine: engine.version)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of the two engines."""
    assert isinstance(request.param, Engine)
    return request.param


@pytest.fixture(name="stage")
async def stage_(town: Town) -> Stage:
    """Two people with a conversation."""
    return await stage(town)
