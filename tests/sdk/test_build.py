"""The file that the server hands out is built from sdk/src, is small, and its own tests pass."""

import gzip
import os
import subprocess
import urllib.request
from pathlib import Path

import pytest

from kit import serving
from sdk.stage import Site

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "src" / "tidings" / "web" / "tidings.js"
MOST = 8 * 1024


def test_the_file_is_small() -> None:
    assert len(gzip.compress(BUILT.read_bytes(), 9, mtime=0)) <= MOST


@pytest.mark.slow
def test_the_file_is_what_its_source_builds(npm: Path, tmp_path: Path) -> None:
    subprocess.run(["node", "build.mjs", str(tmp_path / "tidings.js")], cwd=npm, check=True)
    assert (tmp_path / "tidings.js").read_bytes() == BUILT.read_bytes(), (
        "build it anew: npm run build, in sdk/"
    )


@pytest.mark.slow
def test_the_types_are_right_and_the_sdks_own_tests_pass(npm: Path) -> None:
    env = {**os.environ, "TIDINGS_VECTORS": str(ROOT / "spec" / "vectors")}
    for script in ("check", "test"):
        run = subprocess.run(
            ["npm", "run", "--silent", script], cwd=npm, env=env, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]


@pytest.mark.slow
def test_the_package_has_types_and_needs_nothing(npm: Path, tmp_path: Path) -> None:
    packed = subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", str(tmp_path)],
        cwd=npm,
        check=True,
        capture_output=True,
        text=True,
    )
    listed = subprocess.run(
        ["tar", "tzf", str(tmp_path / packed.stdout.strip().splitlines()[-1])],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "package/dist/index.js" in listed
    assert "package/dist/index.d.ts" in listed
    assert '"dependencies"' not in (npm / "package.json").read_text()


def test_pages_of_other_origins_may_load_it() -> None:
    with serving() as server:
        request = urllib.request.Request(
            server.url + "/tidings.js", headers={"Origin": "https://else.example"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert answer.headers["Content-Type"].startswith("text/javascript")
            assert answer.headers["ETag"]
            assert answer.read() == BUILT.read_bytes()


NODE = """
const { connect } = await import(process.argv[2]);
const client = connect(process.argv[3]);
const told = [];
for await (const { data } of client.channel("news", { after: "earliest" })) {
  if (told.push(data) === 1) await client.channel("news").publish("from Node");
  if (told.length === 2) break;
}
console.log(JSON.stringify([told, client.state.transport ?? "none", client.explain().tried]));
client.close();
"""


def test_in_node(npm: Path, tmp_path: Path) -> None:
    (tmp_path / "script.mjs").write_text(NODE)
    with serving() as server:
        Site(server).publish("news", "hello")
        run = subprocess.run(
            ["node", str(tmp_path / "script.mjs"), str(BUILT), server.url],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert run.returncode == 0, run.stderr
    assert '["hello","from Node"]' in run.stdout
