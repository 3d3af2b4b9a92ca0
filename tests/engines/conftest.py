"""Fixtures of the suite that both engines pass."""

from collections.abc import Iterator

import pytest
import structlog

from engines.stage import ENGINES, Engine


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.version)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of the two engines."""
    assert isinstance(request.param, Engine)
    return request.param


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A line an attempt is too much for thousands of attempts; who wants the lines captures them."""
    structlog.configure(processors=[_drop])
    yield
    structlog.reset_defaults()


def _drop(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    raise structlog.DropEvent
