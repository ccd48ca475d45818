"""A real HAProxy that cuts a tunnel after 5 s of silence: both clients find that out, and leave WebSocket."""

import asyncio
from pathlib import Path

import pytest

from browser.conftest import CHROMIUM
from kit import serving
from roads.book import judge
from roads.listeners import PythonListener, all_have
from roads.pages import PageListener, chromium
from roads.proxies import KINDS, Proxy
from roads.run import KEEPS_ALL, Press

KIND = KINDS["haproxy, tunnel 5 s"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.timeout(120),
    pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` on PATH"),
    pytest.mark.skipif(KIND.program is None, reason="no `haproxy` on PATH"),
]


async def test_both_clients_leave_a_transport_that_is_cut_at_the_same_age_twice(tmp_path: Path) -> None:
    with serving(*KEEPS_ALL) as server:
        proxy = Proxy(KIND, server, tmp_path)
        await proxy.start()
        press = Press(server, 1)
        try:
            async with chromium() as browser:
                page = PageListener("haproxy", await browser.new_page())
                await page.load(proxy.url)
                program = PythonListener("haproxy", proxy.url)
                listeners = (page, program)
                # There is something to hear all the while: how soon the first is shown is judged, too.
                async with press.running():
                    for listener in listeners:
                        await listener.open()
                    await all_have(listeners, None, within=20)
                await all_have(listeners, await press.publish(), within=20)
                # Nobody says anything more, so the tunnels are cut, and cut again.
                async with asyncio.timeout(60):
                    for listener in listeners:
                        while (await listener.look()).transports[-1:] in ([], ["websocket"]):  # noqa: ASYNC110
                            await asyncio.sleep(0.2)
                for listener in listeners:
                    # The next in the order; what it goes on to, where that is cut as well, is as it comes.
                    others = [one for one in (await listener.look()).transports if one != "websocket"]
                    assert others[0] == "sse", await page.explain()
                # And nothing is lost by it.
                await all_have(listeners, await press.publish(), within=20)
                for listener in listeners:
                    assert judge(press.ids, await listener.look()).faults == []
                    await listener.close()
        finally:
            press.close()
            await proxy.stop()
