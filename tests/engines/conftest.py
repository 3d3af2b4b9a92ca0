"""Fixtures of the suite that both engines pass."""

import pytest

from engines.stage import ENGINES, Engine


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.version)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of the two engines."""
    assert isinstance(request.param, Engine)
    return request.param
