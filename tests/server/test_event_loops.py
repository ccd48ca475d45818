"""uvloop is optional: asyncio's own loop carries the same."""

import asyncio
import json
from pathlib import Path
from typing import Literal, get_args

import pytest

from kit import serving
from raw import ask
from tidings.client import Message, follow

Way = Literal["polling", "long-polling", "sse", "websocket"]


@pytest.mark.parametrize("transport", get_args(Way))
async def test_without_uvloop_every_transport_delivers(tmp_path: Path, transport: Way) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError('not installed')")
    with serving(env={"PYTHONPATH": str(tmp_path)}) as server:
        for number in range(300):
            body = json.dumps(number).encode()
            assert (await ask(server, "POST", "/channels/news", body=body)).status == 201
        got = []
        async with (
            asyncio.timeout(30),
            follow(server.url, "news", transport=transport, after="earliest") as feed,
        ):
            async for item in feed:
                assert isinstance(item, Message)
                got.append(item.data)
                if len(got) == 300:
                    break
        assert got == list(range(300))
        assert server.stop() == 0
