"""docs/cli.md is what the commands say of themselves.

`python tests/test_cli_docs.py` writes it anew. It is made from names, texts and defaults, not from the
printed help, whose shape is the library's and changes with it.
"""

import inspect
from pathlib import Path
from typing import Any

import typer.main

from tidings.cli import app

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"

HEAD = """\
# Commands

<!-- Written by `python tests/test_cli_docs.py` from the commands themselves; a test compares the two. -->

`tidings COMMAND --help` shows each of these in the terminal. `python -m tidings` is the same program.

Data goes to standard output, and what is said about it to standard error. Exit codes: 0 done, 1 refused or
failed, 2 wrong usage or a server that cannot start, 130 interrupted.
"""


def reference() -> str:
    """Return the whole page."""
    group: Any = typer.main.get_command(app)
    parts = [HEAD]
    for name, command in group.commands.items():
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option" and "--help" not in p.opts]
        usage = " ".join(["tidings", name, "[OPTIONS]", *(p.metavar for p in arguments)])
        parts.append(f"\n## tidings {name}\n\n{inspect.cleandoc(command.help)}\n\n```\n{usage}\n```\n")
        if arguments:
            parts.append("\n| argument | meaning |\n|---|---|\n")
            parts += [f"| `{_cell(p.metavar)}` | {_cell(p.help)} |\n" for p in arguments]
        parts.append("\n| option | meaning | default |\n|---|---|---|\n")
        parts += [_row(p) for p in options]
        examples = inspect.cleandoc(command.epilog.replace("\b", "")).removeprefix("Examples:\n")
        parts.append(f"\n```\n{inspect.cleandoc(examples)}\n```\n")
    return "".join(parts)


def _row(option: Any) -> str:
    spelled = ", ".join(option.opts)
    if not option.is_flag:
        spelled += f" {option.metavar}"
    default = "" if option.is_flag or option.default in (None, (), []) else f"`{option.default}`"
    if isinstance(option.show_default, str):
        default = f"`{option.show_default}`"
    if option.envvar:
        default += f", or `${option.envvar}`"
    return f"| `{_cell(spelled)}` | {_cell(option.help)} | {default} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def test_every_option_says_what_it_takes_and_means() -> None:
    group: Any = typer.main.get_command(app)
    for command in group.commands.values():
        for option in command.params:
            assert option.help
            assert option.is_flag or option.metavar if option.param_type_name == "option" else option.metavar


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text() == reference(), "run: python tests/test_cli_docs.py"


if __name__ == "__main__":
    PAGE.write_text(reference())
