"""The documents against the code: what is named in one is in the other, with the same value."""

import ast
import re
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import typer.main

import tidings
import tidings.client
from kit import ServerProcess
from spec import tables
from tidings.cli import app
from tidings.core import limits
from tidings.core.errors import CODES
from tidings.core.names import RESERVED_EVENTS
from tidings.server.config import Settings

ROOT: Final = Path(__file__).parents[2]
REFERENCE: Final = (ROOT / "docs" / "reference.md").read_text()
SPEC: Final = (ROOT / "spec" / "protocol.md").read_text()
LIMITS: Final = {name: value for name, value in vars(limits).items() if name.isupper()}
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("spec/**/*.md")])
# A code span may hold an escaped bar, and whatever follows a backslash is no end of a cell.
_CELL = re.compile(r"(?<!\\)\|")


def rows(text: str, heading: str, title: str) -> list[list[str]]:
    """Return the rows of the table whose first column is called `title`, under `heading`."""
    section = text.split(f"\n{heading}\n", 1)[1]
    section = re.split(rf"\n#{{1,{heading.index(' ')}}} ", section, maxsplit=1)[0]
    lines = section.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(f"| {title} "))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in _CELL.split(line)[1:-1]])
    return found


def bare(cell: str) -> str:
    return cell.strip("`")


def as_number(text: str) -> float:
    """Return what a text like `64 KiB`, `1,000 messages` or `25 s` says, in bytes or seconds."""
    number, _, unit = text.replace(",", "").partition(" ")
    return float(number) * {"KiB": 1024, "MiB": 1024 * 1024}.get(unit, 1)


def as_shown(value: Any) -> str:
    """Return a default as the reference writes it."""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


# --- the reference ------------------------------------------------------------------------------


def test_every_option_of_serve_is_in_the_reference_with_its_default() -> None:
    group: Any = typer.main.get_command(app)
    settings = {f.name: f.default for f in msgspec.structs.fields(Settings)}
    options = {}
    for option in group.commands["serve"].params:
        if "--help" in option.opts:
            continue
        default = option.default
        if option.opts == ["--drain"] and default is None:
            default = settings["drain"] if settings["drain"] is not None else limits.DRAIN
        options[option.opts[0]] = as_shown(getattr(default, "value", default) or default)
    shown = {bare(row[0]): row[1] for row in rows(REFERENCE, "## Settings", "option")}
    assert shown == options


def test_every_field_of_settings_is_in_the_reference_with_its_default() -> None:
    fields = {}
    for field in msgspec.structs.fields(Settings):
        default = limits.DRAIN if field.name == "drain" and field.default is None else field.default
        fields[field.name] = as_shown(default)
    table = rows(REFERENCE, "## Settings", "field of `Settings`")
    assert {bare(row[0]): row[1] for row in table} == fields
    options = {bare(row[0]) for row in rows(REFERENCE, "## Settings", "option")}
    assert {bare(row[2]) for row in table if not row[2].startswith("none: ")} == options


def test_every_limit_is_in_the_reference_with_its_value() -> None:
    shown = {bare(name): as_number(value) for name, value, _ in rows(REFERENCE, "## Limits", "limit")}
    assert shown == LIMITS


def test_every_error_code_is_in_the_reference_with_its_status() -> None:
    shown = {bare(code): int(status) for code, status, _ in rows(REFERENCE, "## Errors", "code")}
    assert shown == {code.code: code.status for code in CODES.values()}


def test_every_metric_is_in_the_reference_and_the_only_label_is_an_errors_code(server: ServerProcess) -> None:
    from urllib.request import urlopen

    with urlopen(f"{server.url}/metrics") as answer:
        text = answer.read().decode()
    shown = {bare(name): kind for name, kind, _ in rows(REFERENCE, "## Metrics", "metric")}
    assert shown == dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    labelled = re.findall(r"\{(.*?)\}", text)
    assert labelled == [f'code="{code}"' for code in CODES]


@pytest.mark.parametrize("module", [tidings, tidings.client], ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: Any) -> None:
    section = REFERENCE.split("\n## Python\n")[1]
    named = set(re.findall(r"`(?:tidings\.)?(\w+)`", section))
    assert set(module.__all__) <= named


# --- the spec -----------------------------------------------------------------------------------


def test_tables_made_from_the_code_are_fresh() -> None:
    for document in tables.DOCUMENTS:
        text = document.read_text()
        assert "<!-- table: " in text
        assert text == tables.renewed(text), "run python tests/spec/tables.py"


def _kib(size: int) -> str:
    return f"{size // 1024} KiB" if size < 1024 * 1024 else f"{size // (1024 * 1024)} MiB"


# What the spec says in its sentences, with the numbers as the code has them.
SENTENCES: Final = (
    f"names at most {limits.CHANNELS_PER_REQUEST} channels",
    f"one connection are at most {limits.CHANNELS_PER_REQUEST}",
    f"A name is 1 to {limits.CHANNEL_NAME_BYTES} characters",
    f"1 to {limits.EVENT_NAME_BYTES} characters of",
    f"1 to {limits.KEY_BYTES} visible ASCII characters",
    f"A cursor is 1 to {limits.CURSOR_BYTES} characters",
    f"| `limit` | {limits.ANSWER_MESSAGES} | 1 to {limits.ANSWER_MESSAGES_MOST:,} |",
    f"| `wait` | {limits.WAIT:g} | 0 to {limits.WAIT_MOST:g} |",
    f"| `rewind=N` | none | 0 to {limits.HISTORY_COUNT:,} |",
    f"more than {_kib(limits.ANSWER_BYTES)}, but never before its first message",
    f"target is at most {_kib(limits.URI_BYTES)}",
    f"headers are at most {limits.HEADERS} and {_kib(limits.HEAD_BYTES)} together",
    f"its body is at most {_kib(limits.BODY_BYTES)}",
    f"Bodies are UTF-8, at most {_kib(limits.BODY_BYTES)}",
    f"within {limits.HEAD_TIMEOUT:g} seconds of its first byte",
    f"within {limits.BODY_TIMEOUT:g} seconds of its head",
    f"without a `wait`, is {limits.WAIT:g} seconds",
    f"retry: {limits.RETRY_MS} id:",
    f"comes every {limits.COMMENT_EVERY:g} seconds",
    f"nothing has come from the client for {limits.PING_EVERY:g} seconds",
    f"from the client {limits.PONG_GRACE:g} seconds after a ping",
    f"message of a client is at most {_kib(limits.MESSAGE_BYTES)}, in at most {limits.FRAGMENTS:,} fragments",
    f"at most {limits.EMPTY_FRAGMENTS} empty ones",
    f"takes no bytes for {limits.WRITE_TIMEOUT:g} seconds",
    f"within {limits.IDEMPOTENCY_AGE / 60:g} minutes",
    f"the last {limits.IDEMPOTENCY_KEYS:,} keys",
    f"A batch is at most {limits.BATCH_LINES} lines and {_kib(limits.BATCH_BYTES)}",
    f"and each line at most {_kib(limits.BODY_BYTES)}",
    f"at {limits.STREAM_AGE:g} seconds, up to {limits.STREAM_AGE_SPREAD:.0%} earlier".replace("%", " %"),
    f"the drain time and {limits.CLOSE_GRACE:g} seconds more",
)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_spec_names_the_limits_that_the_code_has(sentence: str) -> None:
    assert sentence in " ".join(SPEC.split())


def test_ten_is_how_many_commands_may_be_refused() -> None:
    assert limits.COMMAND_ERRORS == 10
    assert "After ten refused commands" in SPEC


def test_spec_names_every_reserved_event() -> None:
    (listed,) = re.findall(r"but not (`[^|]*?) \|", SPEC)
    assert set(re.findall(r"`(\w+)`", listed)) == RESERVED_EVENTS


def test_spec_names_every_close_code_that_the_server_sends() -> None:
    table = {row[0] for row in rows(SPEC, "### 5.4 WebSocket", "code")}
    sent = set()
    for node in ast.walk(ast.parse((ROOT / "src/tidings/transports/web_socket.py").read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and 1000 <= node.value <= 4999:
            sent.add(str(node.value))
    # Two numbers of that file are no close codes: a size, and the status that upgrades.
    assert sent - {"4096"} <= table
    assert str(CODES["bad_command"].close) in table


def test_sections_that_the_code_refers_to_are_there() -> None:
    sections = set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", SPEC, re.MULTILINE))
    assert {"1", "2.1", "8.2"} <= sections
    files = [
        path
        for folder in ("src", "tests", "examples", "bench")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".js", ".ts") and not {"node_modules", "build"} & set(path.parts)
    ]
    referred = {
        (number, str(path.relative_to(ROOT)))
        for path in files
        for number in re.findall(r"spec §(\d+(?:\.\d+)?)", path.read_text())
    }
    assert referred
    assert {(number, path) for number, path in referred if number not in sections} == set()


# --- all pages ----------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """Return the anchor that a heading gets on the usual sites."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower().replace("`", ""))
    return kept.strip().replace(" ", "-")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = without_code(page.read_text())
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)
    broken = []
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue  # another site: not ours to promise, and tests need no network
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            broken.append(target)
        elif anchor and file.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", without_code(file.read_text()), re.MULTILINE)
            if anchor not in map(slug, headings):
                broken.append(target)
    assert not broken
