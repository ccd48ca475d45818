"""Frames between processes of one server: a length, and a MessagePack value that a schema checks.

Owns: where a frame begins and ends, and how long it may be. Does not own: what is in it (shared_log.py,
duty.py).
Invariant: what a stream may make us keep is one frame that is not complete yet.
"""

from typing import Final

from tidings.core import limits

_HEAD: Final = 4  # bytes of the length, the highest first


class BadFrame(ValueError):
    """Bytes that are no frame of ours; the text says why, and holds nothing of them."""


def frame(body: bytes) -> bytes:
    """Return `body` as a frame."""
    return len(body).to_bytes(_HEAD, "big") + body


class Frames:
    """Cuts a stream of bytes into the bodies of its frames."""

    __slots__ = ("_most", "_rest", "_wanted")

    def __init__(self, most: int = limits.WORKER_FRAME_BYTES) -> None:
        self._most = most
        self._rest = bytearray()
        self._wanted = _HEAD  # bytes that the rest must have before it is worth another look

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; return the frames that are complete. Raises BadFrame where one is too long."""
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._wanted:
                return []
            data = bytes(rest)
            rest.clear()
        found = []
        start, size = 0, len(data)
        self._wanted = _HEAD
        while size - start >= _HEAD:
            length = int.from_bytes(data[start : start + _HEAD], "big")
            if length > self._most:
                raise BadFrame(f"a frame of {length} bytes; at most {self._most} are taken")
            end = start + _HEAD + length
            if end > size:
                self._wanted = end - start
                break
            found.append(data[start + _HEAD : end])
            start = end
        if start < size:
            rest += data[start:]
        return found
