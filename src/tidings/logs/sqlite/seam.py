"""What the event loop's side (log.py) and the thread (writer.py) know of each other.

Owns: what is told across, and why something failed in words. Everything here is told in the loop's thread.
"""

import sqlite3
from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import EIO, ENOSPC
from pathlib import Path
from typing import Protocol

from tidings.core.errors import SettingsError
from tidings.core.history import Retention
from tidings.core.message import Draft, Durability, Message, Receipt

Append = tuple[Sequence[Draft], "Future[list[Receipt]]"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a file is used. `clock` returns seconds since the Unix epoch."""

    path: Path
    durability: Durability
    retention: Retention
    clock: Callable[[], float]
    idempotency_age: float
    idempotency_keys: int


class Told(Protocol):
    """What the event loop's side is told, in its own thread."""

    def opened(self, epoch: str, head: int, error: Exception | None) -> None:
        """The file is open, or is not."""

    def committed(
        self, answers: Sequence[tuple["Future[list[Receipt]]", list[Receipt]]], messages: Sequence[Message]
    ) -> None:
        """These appends are kept, and their new messages are `messages`."""

    def answered(self, future: "Future[list[Message]]", messages: list[Message]) -> None:
        """This is what was asked to be read."""

    def failed(self, future: "Future[list[Message]]", reason: str | None) -> None:
        """It could not be read."""

    def refused(self, appends: Sequence[Append], reason: str) -> None:
        """Nothing was kept of these; and nothing will be, for `reason`, until `recovered`."""

    def recovered(self, epoch: str, head: int, messages: Sequence[Message]) -> None:
        """Appends are taken again; `messages` were kept, and nobody was told of them."""

    def ended(self) -> None:
        """The file is closed, and the thread is at its end."""


def why(error: Exception) -> str:
    """Return what a failure means to a publisher: half a sentence, without a path."""
    if isinstance(error, SettingsError):
        return "its file cannot be opened again"
    name = getattr(error, "sqlite_errorname", "")
    number = getattr(error, "errno", None)
    if name == "SQLITE_FULL" or number == ENOSPC:
        return "the disk is full"
    if name.startswith("SQLITE_IOERR") or number == EIO:
        return f"the disk failed ({name or 'EIO'})"
    if name in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
        return "the file is damaged"
    if isinstance(error, sqlite3.Error):
        return f"{error} ({name})" if name else str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)  # without its path
    return "the server failed"
