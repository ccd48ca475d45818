"""Reading addresses and channel names."""

import pytest

from tidings.client import BadAddress, Refused
from tidings.client.address import read_address, read_channels


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/channels/a,b"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/channels/a,b"),
        ("https://example.org", "https://example.org:443/channels/a,b"),
        ("http://[::1]:9000", "http://[::1]:9000/channels/a,b"),
        ("https://example.org/live/feed/", "https://example.org:443/live/feed/channels/a,b"),
        ("http://example.org/a b", "http://example.org:80/a%20b/channels/a,b"),
    ],
)
def test_an_address_gives_the_channels_url(text: str, url: str) -> None:
    assert read_address(text).url(("a", "b")) == url


@pytest.mark.parametrize("text", ["unix:/run/t.sock", "unix:///run/t.sock"])
def test_a_socket_is_named_by_its_path(text: str) -> None:
    assert read_address(text).uds == "/run/t.sock"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:8080",
        "ftp://example.org",
        "http://",
        "http://example.org:99999",
        "http://example.org:http",
        "http://[::1",
        "http://user:secret@example.org",
        "http://example.org/?after=1",
        "http://example.org/#part",
        "unix:",
        "unix:/a\0b",
    ],
)
def test_what_is_no_address_is_refused_with_a_word_on_it(text: str) -> None:
    with pytest.raises(BadAddress) as refused:
        read_address(text)
    assert len(str(refused.value)) > 20


def test_channels_come_as_a_string_or_a_sequence_and_each_once() -> None:
    assert read_channels("a,b,a") == ("a", "b")
    assert read_channels(["a", "b", "a"]) == ("a", "b")


@pytest.mark.parametrize("channels", ["", "a,,b", "a b", "a/b", "x" * 201, "a\n", [], ["a,b"]])
def test_a_bad_name_is_refused_with_the_servers_code(channels: str | list[str]) -> None:
    with pytest.raises(Refused) as refused:
        read_channels(channels)
    assert (refused.value.code, refused.value.status) == ("bad_channel", 400)
