"""`--static`: an application's own files beside the channels, and nothing else of the machine's."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit import ServerProcess, serving
from raw import Wire, ask
from tidings.core.limits import STATIC_FILE_BYTES

HTML = "<!doctype html><title>mine</title>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").write_text("secret")
    folder = tmp_path_factory.mktemp("static") / "page"
    (folder / "parts").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "index.html").write_text(HTML)
    (folder / "parts" / "index.html").write_text("parts")
    (folder / "parts" / "app.js").write_text("export {};")
    (folder / "a b.txt").write_text("spaced")
    (folder / "tidings.js").write_text("not the SDK")
    (folder / "app.py").write_text("KEY = 'secret'")
    (folder / "server.pem").write_text("secret")
    (folder / ".env.txt").write_text("secret")
    (folder / ".git" / "config.txt").write_text("secret")
    (folder / "link.txt").symlink_to(outside / "secret.txt")
    (folder / "way").symlink_to(outside)
    (folder / "inner.txt").symlink_to(folder / "a b.txt")
    (folder / "folder.txt").mkdir()
    os.mkfifo(folder / "pipe.txt")
    (folder / "large.txt").write_bytes(b"x" * STATIC_FILE_BYTES)
    (folder / "larger.txt").write_bytes(b"x" * (STATIC_FILE_BYTES + 1))
    return folder


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[ServerProcess]:
    with serving("--static", str(folder)) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/", HTML, "text/html; charset=utf-8"),
        ("/index.html", HTML, "text/html; charset=utf-8"),
        ("/parts/", "parts", "text/html; charset=utf-8"),
        ("/parts/app.js", "export {};", "text/javascript; charset=utf-8"),
        ("/a%20b.txt", "spaced", "text/plain; charset=utf-8"),
        ("/?transport=sse", HTML, "text/html; charset=utf-8"),
    ],
)
async def test_a_file_is_served_with_its_type_and_a_strict_policy(
    site: ServerProcess, path: str, body: str, kind: str
) -> None:
    answer = await ask(site, "GET", path)
    assert (answer.status, answer.body.decode()) == (200, body)
    assert answer.headers["content-type"] == kind
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    "path",
    [
        "/app.py",
        "/server.pem",
        "/.env.txt",
        "/.git/config.txt",
        "/link.txt",
        "/inner.txt",
        "/way/secret.txt",
        "/folder.txt",
        "/pipe.txt",
        "/larger.txt",
        "/nothing.html",
        "/parts",
        "//index.html",
        "/parts//app.js",
        "/index.html/",
        "/index.html/app.js",
        "/" + "x" * 300 + ".txt",
    ],
)
async def test_what_is_no_page_or_lies_elsewhere_is_not_there(site: ServerProcess, path: str) -> None:
    answer = await ask(site, "GET", path)
    assert answer.status == 404
    assert answer.json["code"] == "not_found"
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    "path",
    [
        "/../outside0/secret.txt",
        "/parts/../../outside0/secret.txt",
        "/%2e%2e/outside0/secret.txt",
        "/..%2foutside0%2fsecret.txt",
        "/..%5csecret.txt",
        "/index.html%00.txt",
    ],
)
async def test_a_path_that_leads_out_is_refused(site: ServerProcess, path: str) -> None:
    answer = await ask(site, "GET", path)
    assert answer.status == 400
    assert b"secret" not in answer.body


async def test_what_tidings_serves_itself_comes_first(site: ServerProcess) -> None:
    sdk = await ask(site, "GET", "/tidings.js")
    assert b"not the SDK" not in sdk.body
    assert sdk.headers["access-control-allow-origin"] == "*"
    assert (await ask(site, "GET", "/livez")).status == 200
    assert (await ask(site, "GET", "/channels/news")).json["messages"] == []
    assert (await ask(site, "GET", "/web/icon.svg")).status == 200


async def test_who_has_a_file_is_told_so_until_it_changes(site: ServerProcess, folder: Path) -> None:
    file = folder / "changing.json"
    file.write_text("1")
    tag = (await ask(site, "GET", "/changing.json")).headers["etag"]
    same = await ask(site, "GET", "/changing.json", {"If-None-Match": tag})
    assert (same.status, same.body) == (304, b"")
    file.write_text("23")
    changed = await ask(site, "GET", "/changing.json", {"If-None-Match": tag})
    assert (changed.status, changed.body) == (200, b"23")
    assert changed.headers["etag"] != tag
    assert changed.headers["cache-control"] == "no-cache"


async def test_a_file_is_asked_for_by_head_and_get_only(site: ServerProcess) -> None:
    wire = await Wire.connect(site)
    head = await wire.ask("HEAD", "/index.html")
    assert (head.status, head.headers["content-length"]) == (200, str(len(HTML)))
    assert (await ask(site, "POST", "/index.html", {}, b"x")).status == 405
    assert len((await ask(site, "GET", "/large.txt")).body) == STATIC_FILE_BYTES


async def test_without_a_folder_the_first_page_is_the_servers_own() -> None:
    with serving() as server:
        assert b"four ways to wait" in (await ask(server, "GET", "/")).body
        assert (await ask(server, "GET", "/app.js")).status == 404


async def test_a_folder_that_goes_away_takes_nothing_else_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "index.html").write_text(HTML)
    with serving("--static", str(folder)) as server:
        (folder / "index.html").unlink()
        folder.rmdir()
        assert (await ask(server, "GET", "/")).status == 404
        assert (await ask(server, "GET", "/livez")).status == 200
        assert not any("Traceback" in line for line in server.errors)


def test_a_folder_that_is_not_there_stops_the_server_before_it_starts(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidings", "serve", "--static", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert json.dumps(done.stderr).count("There is no folder") == 1
