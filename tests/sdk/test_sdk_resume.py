"""What happens to a page, its network and its server: nothing is lost or told twice, a hole is told."""

import asyncio

import pytest

from kit import serving
from sdk.stage import Site, Tab, Tabs, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

over_two = pytest.mark.parametrize("transport", ["websocket", "sse"])


async def has_leader(tabs: list[Tab]) -> bool:
    explained = [await tab.explain() for tab in tabs]
    return any(one["role"] == "leader" and one["state"]["name"] == "live" for one in explained)


@over_two
async def test_ten_tabs_share_one_connection_and_the_leaders_end_loses_nothing(
    site: Site, tabs: Tabs, transport: str
) -> None:
    several = await asyncio.gather(*(tabs("news", transports=[transport]) for _ in range(10)))
    for tab in several:
        await tab.live()
    assert site.metric("live_subscribers") == 1
    roles = [(await tab.explain())["role"] for tab in several]
    assert sorted(roles) == ["follower"] * 9 + ["leader"]

    published = 0

    async def publish(until_: asyncio.Event) -> None:
        nonlocal published
        while not until_.is_set():
            await asyncio.to_thread(site.publish, "news", *range(published, published + 5))
            published += 5

    # Twice, so that a leader that took over is followed by another.
    for _ in range(2):
        done = asyncio.Event()
        publishing = asyncio.create_task(publish(done))
        roles = [(await tab.explain())["role"] for tab in several]
        leader = several.pop(roles.index("leader"))
        await leader.page.close()
        await until(lambda: has_leader(several))
        done.set()
        await publishing
    for tab in several:
        await tab.hears(*range(published))
        assert await tab.see("gaps") == []
        assert {state["name"] for state in await tab.see("states")} <= {"connecting", "live"}
    assert site.metric("live_subscribers") == 1


async def test_tabs_with_different_channels_hear_theirs_over_one_connection(site: Site, tabs: Tabs) -> None:
    one = await tabs("a")
    await one.live()
    other = await tabs("b", start={"rewind": 5})
    await other.live()
    await other.reach("client.explain().began.includes('b')")
    site.publish("a", 1)
    site.publish("b", 2)
    await one.hears(1)
    await other.hears(2)
    # A third wants what the first has already, and from earlier.
    third = await tabs("a", start={"after": "earliest"})
    await third.hears(1)
    site.publish("a", 3)
    await third.hears(1, 3)
    await one.hears(1, 3)
    await other.hears(2)
    assert site.metric("live_subscribers") == 1


async def test_unshared_tabs_have_a_connection_each(site: Site, tabs: Tabs) -> None:
    several = [await tabs("news", share=False) for _ in range(2)]
    for tab in several:
        await tab.live()
    assert site.metric("live_subscribers") == 2


@over_two
async def test_a_reload_with_persist_has_no_hole(site: Site, tabs: Tabs, transport: str) -> None:
    tab = await tabs("news", persist=True, transports=[transport])
    await tab.live()
    site.publish("news", 1, 2)
    await tab.hears(1, 2)
    await tab.reload()
    site.publish("news", 3, 4)
    await tab.connect("news", persist=True, transports=[transport])
    await tab.hears(3, 4)
    assert await tab.see("gaps") == []


async def test_a_reload_beside_another_tab_has_no_hole(site: Site, tabs: Tabs) -> None:
    other = await tabs("news")
    tab = await tabs("news", persist=True)
    await tab.live()
    site.publish("news", 1)
    await tab.hears(1)
    await tab.reload()
    site.publish("news", 2)
    await other.hears(1, 2)
    await tab.connect("news", persist=True)
    await tab.hears(2)
    await other.hears(1, 2)


@pytest.mark.parametrize("transport", ["websocket", "sse", "long-polling"])
async def test_a_server_started_anew_is_one_gap_a_channel(site: Site, tabs: Tabs, transport: str) -> None:
    tab = await tabs("news", "chat", transports=[transport])
    await tab.live()
    site.publish("news", 1)
    await tab.hears(1)
    site.server.stop()
    with serving("--port", str(site.server.port)):
        site.publish("news", 2)
        await tab.hears(1, 2)
        site.publish("news", 3)
        await tab.hears(1, 2, 3)
        gaps = await tab.see("gaps")
        assert sorted((gap["channel"], gap["reason"]) for gap in gaps) == [
            ("chat", "epoch"),
            ("news", "epoch"),
        ]


@pytest.mark.slow
async def test_a_trouble_shows_when_it_lasts_and_says_why(site: Site, tabs: Tabs) -> None:
    tab = await tabs("news")
    await tab.live()
    site.server.stop()
    await tab.reach("client.state.name === 'recovering'")
    assert "no answer from 127.0.0.1" in await tab.see("client.state.reason")
    with serving("--port", str(site.server.port)):
        await tab.live()
        assert [state["name"] for state in await tab.see("states")] == [
            "connecting",
            "live",
            "recovering",
            "live",
        ]


@pytest.mark.slow
async def test_offline_it_waits_and_online_it_has_everything_once(site: Site, tabs: Tabs) -> None:
    tab = await tabs("news", transports=["sse"])
    await tab.live()
    site.publish("news", 1)
    await tab.hears(1)
    await tab.context.set_offline(True)
    await tab.reach("client.state.name === 'offline'")
    await tab.see("void (window.receipts = [1, 2].map((n) => client.channel('mine').publish(n)))")
    site.publish("news", 2)
    await tab.context.set_offline(False)
    await tab.hears(1, 2)
    receipts = await tab.see("Promise.all(receipts)")
    assert len({receipt["id"] for receipt in receipts}) == 2
    assert site.history("mine") == [1, 2]


async def test_offline_publishing_is_bounded_and_says_what_it_drops(site: Site, tabs: Tabs) -> None:
    tab = await tabs("news", queueMessages=3)
    await tab.live()
    await tab.context.set_offline(True)
    await tab.see(
        "void (window.told = Promise.allSettled("
        "[0, 1, 2, 3, 4].map((n) => client.channel('mine').publish(n))))"
    )
    await tab.context.set_offline(False)
    told = await tab.see("told.then((all) => all.map(({ status, reason }) => reason?.code ?? status))")
    assert told == ["fulfilled"] * 3 + ["queue_full"] * 2
    assert site.history("mine") == [0, 1, 2]


@over_two
async def test_put_away_it_holds_no_connection_and_back_again_it_has_everything(
    site: Site, tabs: Tabs, transport: str
) -> None:
    tab = await tabs("news", transports=[transport])
    await tab.live()
    await tab.see("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    await until(lambda: asyncio.to_thread(lambda: site.metric("live_subscribers") == 0))
    site.publish("news", 1, 2)
    await tab.see("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    await tab.hears(1, 2)


async def test_what_is_published_as_the_page_goes_away_arrives(site: Site, tabs: Tabs) -> None:
    tab = await tabs()
    await tab.see(
        """addEventListener("pagehide", () => [1, 2, 3].map((n) => client.channel("mine").publish(n)))"""
    )
    await tab.connect("news")
    await tab.live()
    await tab.page.goto(site.url + "/version")
    await until(lambda: asyncio.to_thread(lambda: site.history("mine") == [1, 2, 3]))
