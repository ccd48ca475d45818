class _AsJson:
    """What a text on the command line or a line of standard input becomes."""

    def __init__(self, *, text: bool, json: bool) -> None:
        self._text = text
        self._json = json

    def __call__(self, given: str) -> bytes:
        """Return JSON text; raises ValueError where JSON is demanded and this is none."""
        import json

        if not self._text:
            try:
                json.loads(given, parse_constant=_no_such_constant)
            except (ValueError, RecursionError) as why:
                if self._json:
                    raise ValueError(str(why)) from None
            else:
                return given.encode()
        # A byte of the command line that is no UTF-8 has become half a character, which no JSON may hold.
        return json.dumps(given.encode(errors="surrogateescape").decode(errors="replace")).encode()


def _no_such_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _publish_lines(
    publisher: "Publisher", channel: str, as_json: Callable[[str], bytes], event: str | None, key: str | None
) -> None:
    """Publish every line of standard input; the first that cannot be sent ends it."""
    sent = 0
    while line := sys.stdin.buffer.readline(LINE_BYTES):
        if not line.endswith(b"\n") and len(line) == LINE_BYTES:
            _fail(f"line {sent + 1} is longer than {LINE_BYTES} bytes; {_sent(sent)}")
        try:
            body = as_json(line.removesuffix(b"\n").removesuffix(b"\r").decode())
        except UnicodeDecodeError:
            _fail(f"line {sent + 1} is not UTF-8; {_sent(sent)}")
        except ValueError as why:
            _fail(f"line {sent + 1} is not JSON: {why}; {_sent(sent)}")
        try:
            receipt = publisher.publish(channel, body, event=event, key=key)
        except Exception:
            if sent:
                typer.echo(f"line {sent + 1} failed; {_sent(sent)}", err=True)
            raise
        sent += 1
        _print(receipt.id.encode())


def _sent(lines: int) -> str:
    return f"{lines} sent before it"
