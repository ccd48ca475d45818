"""`tidings pub`: one message, or each line of standard input.

Owns: the flags. Does not own: what becomes of lines (lines.py), or the requests (client/publisher.py).
"""

from typing import Annotated, Final

import typer

from tidings.cli.remote import TokenFile, Url, failures_told, token_from
from tidings.cli.talk import print_line

EPILOG: Final = """\b
Examples:
  tidings pub news '{"n":1}'
  tidings pub chat hello                         not JSON, so it is sent as the string "hello"
  tidings pub chat --text 42                     the string "42", not the number
  tidings pub prices 101.5 --event trade --key ACME
  vmstat -n 1 | tidings pub machine -            every line becomes a message
"""


def pub(
    channel: Annotated[
        str, typer.Argument(metavar="CHANNEL", help="The channel's name.", show_default=False)
    ],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA|-",
            help="The message: JSON, or else text; - sends each line of standard input.",
            show_default=False,
        ),
    ],
    *,
    url: Url = "http://127.0.0.1:8080",
    token_file: TokenFile = None,
    event: Annotated[
        str | None, typer.Option(metavar="NAME", help="What kind of message it is.", show_default=False)
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Which state it is the newest value of.", show_default=False),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Publish once, however often this is run with the same key."),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Send DATA as a string, whatever it looks like.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Refuse DATA that is not JSON.")] = False,
) -> None:
    """Publish a message, and print its id.

    Where the answer is lost on the way it is asked for again, and the message is still published once.
    """
    if text and json:
        raise typer.BadParameter("--text and --json exclude each other")
    if data == "-" and idempotency_key is not None:
        raise typer.BadParameter("one --idempotency-key cannot stand for many lines")
    from tidings.cli.lines import AsJson, publish_lines
    from tidings.client import Publisher

    as_json = AsJson(text=text, json=json)
    token = token_from(token_file)
    with failures_told(url, token_file), Publisher(url, token=token) as publisher:
        if data == "-":
            publish_lines(publisher, channel, as_json, event=event, key=key)
        else:
            try:
                body = as_json(data)
            except ValueError as why:
                raise typer.BadParameter(f"DATA is not JSON: {why}") from None
            receipt = publisher.publish(channel, body, event=event, key=key, idempotency_key=idempotency_key)
            print_line(receipt.id.encode())
            if receipt.duplicate:
                typer.echo("published before under this key; nothing new was sent", err=True)
