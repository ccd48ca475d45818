"""The pages and their files, under a strict Content-Security-Policy; and the browser SDK, /tidings.js.

Owns: which files there are, that nothing runs that is inline or from elsewhere, and that what a
browser has already is not sent again, and else compressed where it can be. Does not own: their content,
and an application's own files (folder.py).
"""

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from tidings.core.errors import Refusal
from tidings.server.folder import Folder
from tidings.wire.http import Headers, Request, Response, prefers

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
_PICTURES: Final = ("ico", "png")  # they are compressed as they are


@dataclass(frozen=True, slots=True)
class _File:
    """One form of a file, as it is or compressed: what marks its content, and what is answered."""

    tag: str
    whole: Response
    unchanged: Response


class Pages:
    """The files under tidings/web, read once at the start: what a request names is only looked up."""

    def __init__(self) -> None:
        self._folder: Folder | None = None
        # By path: the file as it is, and compressed where that makes it shorter.
        self._files: dict[str, tuple[_File, _File]] = {}
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
            elif (kind := _TYPES.get(ending := entry.name.rpartition(".")[2])) is not None:
                headers = _ANYBODYS if path == "/web" + _SDK else _OURS
                plain = packed = entry.read_bytes()
                if ending not in _PICTURES:
                    headers += (("Vary", "Accept-Encoding"),)
                    packed = gzip.compress(plain, mtime=0)  # the same bytes at every start, in every worker
                form = compressed = _form(kind, headers, plain)
                if len(packed) < len(plain):
                    compressed = _form(kind, (*headers, ("Content-Encoding", "gzip")), packed)
                self._files[path] = (form, compressed)

    def get(self, request: Request) -> Response:
        """Return the file at the request's path, or refuse with `not_found`.

        Who has these very bytes already (If-None-Match) is answered 304.
        """
        known = request.headers.get("if-none-match")
        forms = self._files.get(request.path)
        if forms is None:
            if self._folder is not None:
                return self._folder.get(request.path, known)
            raise Refusal("not_found", "There is nothing at this path; channels are under /channels/NAME.")
        file = forms[prefers(request.headers.get("accept-encoding", ""), "gzip")]
        return file.unchanged if known is not None and file.tag in known else file.whole


def _form(kind: str, headers: Headers, body: bytes) -> _File:
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    # no-cache: a browser asks each time, and is told 304 as long as nothing has changed.
    headers = (("Cache-Control", "no-cache"), ("ETag", tag), *headers)
    return _File(tag, Response(200, (("Content-Type", kind), *headers), body), Response(304, headers))
