"""Every test that takes `home`, or `log`, runs once for each kind of log."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from logs.homes import HOMES, Home
from tidings.core import limits
from tidings.logs import Log


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk or an engine that is slow for some seconds is no reason to refuse: not what is tested here."""
    monkeypatch.setattr(limits, "LOG_TIMEOUT", 30.0)


@pytest.fixture(params=HOMES)
async def home(request: pytest.FixtureRequest, tmp_path: Path, patient: None) -> AsyncIterator[Home]:
    async with HOMES[request.param](tmp_path) as made:
        yield made


@pytest.fixture
async def log(home: Home) -> AsyncIterator[Log]:
    opened = await home.open()
    yield opened
    await opened.close()
