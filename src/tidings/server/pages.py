"""The pages and their files, under a strict Content-Security-Policy; and the browser SDK, /tidings.js.

Owns: which files there are, that nothing runs that is inline or from elsewhere, and that what a
browser has already is not sent again. Does not own: their content,
and an application's own files (folder.py).
"""

import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from tidings.core.errors import Refusal
from tidings.server.folder import Folder
from tidings.wire.http import Headers, Response

_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE: Final[Headers] = (
    (
        "Content-Security-Policy",
        _POLICY,
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
_OURS: Final[Headers] = (*_SAFE, ("Cross-Origin-Resource-Policy", "same-origin"))
# Pages of other origins load the SDK; whether they may connect is asked when they do (guards.py).
_ANYBODYS: Final[Headers] = (
    *_SAFE,
    ("Cross-Origin-Resource-Policy", "cross-origin"),
    ("Access-Control-Allow-Origin", "*"),
)
_SDK: Final = "/tidings.js"


class Pages:
    """The files under tidings/web, read once at the start: what a request names is only looked up."""

    def __init__(self) -> None:
        self._folder: Folder | None = None
        # By path: the headers that every answer bears, the type, and the content.
        self._files: dict[str, tuple[Headers, str, bytes]] = {}
        root = files("tidings") / "web"
        if root.is_dir():
            self._load(root, "/web/")
        for path, file in (("/", "/web/index.html"), ("/lab", "/web/lab.html"), (_SDK, "/web" + _SDK)):
            if file in self._files:
                self._files[path] = self._files[file]

    def put_before(self, folder: Folder) -> None:
        """Have an application's own folder, with its first page for ours."""
        self._folder = folder
        self._files.pop("/", None)

    def _load(self, folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            path = prefix + entry.name
            if entry.is_dir():
                self._load(entry, path + "/")
            elif (kind := _TYPES.get(entry.name.rpartition(".")[2])) is not None:
                body = entry.read_bytes()
                # no-cache: a browser asks each time, and is told 304 as long as nothing has changed.
                cached = (("Cache-Control", "no-cache"), ("ETag", _tag(body)))
                safe = _ANYBODYS if path == "/web" + _SDK else _OURS
                self._files[path] = ((*cached, *safe), kind, body)

    def get(self, path: str, known: str | None = None) -> Response:
        """Return the file at `path`, or refuse with `not_found`.

        `known` is the request's If-None-Match: who has these very bytes is answered 304.
        """
        found = self._files.get(path)
        if found is None:
            if self._folder is not None:
                return self._folder.get(path, known)
            raise Refusal("not_found", "There is nothing at this path; channels are under /channels/NAME.")
        headers, kind, body = found
        if known is not None and _tag(body) in known:
            return Response(304, headers)
        return Response(200, (("Content-Type", kind), *headers), body)


@cache
def _tag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:16]}"'
