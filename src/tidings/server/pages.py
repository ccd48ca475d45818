"""The pages and their files, under a strict Content-Security-Policy.

Owns: which files there are, and that nothing runs that is inline or from elsewhere. Does not own:
their content.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from tidings.core.errors import Refusal
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
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Pages:
    """The files under tidings/web, read once at the start: what a request names is only looked up."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, bytes]] = {}
        root = files("tidings") / "web"
        if root.is_dir():
            self._load(root, "/web/")
        if "/web/index.html" in self._files:
            self._files["/"] = self._files["/web/index.html"]

    def _load(self, folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                self._load(entry, f"{prefix}{entry.name}/")
            elif (kind := _TYPES.get(entry.name.rpartition(".")[2])) is not None:
                self._files[prefix + entry.name] = (kind, entry.read_bytes())

    def get(self, path: str) -> Response:
        """Return the file at `path`, or refuse with `not_found`."""
        found = self._files.get(path)
        if found is None:
            raise Refusal("not_found", "There is nothing at this path; channels are under /channels/NAME.")
        kind, body = found
        return Response(200, (("Content-Type", kind), ("Cache-Control", "no-cache"), *_SAFE), body)
