"""The demos in a real Chromium, with the fixtures of tests/browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.stage import Demo, Starting
from browser.conftest import browser, visit

__all__ = ["browser", "visit"]


@pytest.fixture
def start() -> Iterator[Starting]:
    """`start("chat", *flags)` starts a demo. Ask for it before `visit`, so that pages are closed first."""
    demos: list[Demo] = []

    def start_one(name: str, *flags: str) -> Demo:
        demos.append(Demo(name, *flags))
        demos[-1].start()
        return demos[-1]

    yield start_one
    for demo in demos:
        demo.stop()


@pytest.fixture
def kept(tmp_path: Path) -> tuple[str, ...]:
    """The flags of a log that outlives the process."""
    return ("--log", f"sqlite:///{tmp_path / 'log.db'}")
