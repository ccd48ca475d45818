"""The files of an application's own folder, beside the channels: pages that use them need no second server.

Owns: which files of the folder may be read, and how they are told. Does not own: the server's own pages
(pages.py), which come first but for `/`.
Invariant: nothing outside of the folder is ever read, whatever a request says and whoever changes the folder
meanwhile.
"""

import os
import stat
from contextlib import suppress
from typing import Final

from tidings.core.errors import Refusal
from tidings.core.limits import STATIC_FILE_BYTES
from tidings.wire.http import Headers, Response

# What pages are made of. Anything else in the folder (programs, keys, databases) is nobody's business.
_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "gif": "image/gif",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "jpg": "image/jpeg",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "mjs": "text/javascript; charset=utf-8",
    "mp3": "audio/mpeg",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "wasm": "application/wasm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff2": "font/woff2",
}
# As strict as our own pages in what matters: nothing inline, nothing from elsewhere, in nobody's frame.
_POLICY: Final = (
    "default-src 'self'; script-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final[Headers] = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # A browser asks each time: a file that was just edited is seen at the next reload.
    ("Cache-Control", "no-cache"),
)
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A link might lead out of the folder, so none is followed; a pipe would hold us up, so none is waited for.
_WITHIN: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Folder:
    """The folder `root`, read at each request."""

    def __init__(self, root: str) -> None:
        self._root = root

    def get(self, path: str, known: str | None = None) -> Response:
        """Return the file at `path` (a folder's is its index.html), or refuse with `not_found`.

        `known` is the request's If-None-Match.
        """
        *folders, name = path.split("/")[1:]
        name = name or "index.html"
        kind = _TYPES.get(name.rpartition(".")[2])
        # Hidden files stay hidden, `.git` and `.env` first of all. Else a path is names, and only names.
        if kind is not None and all(part and part[0] != "." for part in (*folders, name)):
            with suppress(OSError, ValueError):
                return self._read(folders, name, kind, known)
        raise Refusal("not_found", "There is no such file, and channels are under /channels/NAME.")

    def _read(self, folders: list[str], name: str, kind: str, known: str | None) -> Response:
        # Step by step from folder to folder: what was looked at cannot be exchanged before it is opened.
        here = os.open(self._root, _FOLDER)
        try:
            for folder in folders:
                inner = os.open(folder, _FOLDER | _WITHIN, dir_fd=here)
                os.close(here)
                here = inner
            file = os.open(name, os.O_RDONLY | _WITHIN, dir_fd=here)
        finally:
            os.close(here)
        with open(file, "rb") as opened:  # noqa: PTH123 - a descriptor, not a path
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_size > STATIC_FILE_BYTES:
                raise FileNotFoundError(name)
            tag = f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'
            headers = (("ETag", tag), *_HEADERS)
            if known is not None and tag in known:
                return Response(304, headers)
            # One byte more than may be: it may have grown since.
            body = opened.read(STATIC_FILE_BYTES + 1)
        if len(body) > STATIC_FILE_BYTES:
            raise FileNotFoundError(name)
        return Response(200, (("Content-Type", kind), *headers), body)
