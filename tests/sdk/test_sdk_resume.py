"""What happens to a page, its network and its server: nothing is lost or told twice, a hole is told."""

import asyncio

import pytest
from playwright.async_api import Route

import tidings
from kit import serving
from sdk.stage import Site, Tab, Tabs, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

_WANT_ALL = "void listen('news', {after: 'earliest'})"
# What the tabs ask of the one that leads, as it comes.
_COUNT_WANTS = """
() => {
  window.wants = 0;
  const radio = new BroadcastChannel("tidings 1 " + location.origin + "/ ");
  radio.onmessage = ({data}) => (wants += !!data.want);
}
"""
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
    await site.settles("live_subscribers", 1)
    roles = [(await tab.explain())["role"] for tab in several]
    assert sorted(roles) == ["follower"] * 9 + ["leader"]

    published = 0

    async def publish(until_: asyncio.Event) -> None:
        nonlocal published
        while not until_.is_set():
            await asyncio.to_thread(site.publish, "news", *range(published, published + 5))
            published += 5
            # The server keeps 1,000: ten seconds of these, for a leader that is followed late.
            await asyncio.sleep(0.05)

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
    await site.settles("live_subscribers", 1)


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
    await site.settles("live_subscribers", 1)


async def test_unshared_tabs_have_a_connection_each(site: Site, tabs: Tabs) -> None:
    several = [await tabs("news", share=False) for _ in range(2)]
    for tab in several:
        await tab.live()
    await site.settles("live_subscribers", 2)


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
    await other.live()
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


# The first batch is never answered; the others go their way.
HANG_ONCE = """
  window.posts = 0;
  const real = window.fetch;
  window.fetch = (url, options) =>
    String(url).endsWith("/publish") && !window.posts++ ? new Promise(() => {}) : real(url, options);
"""


async def test_what_waits_as_the_page_goes_away_is_handed_to_the_browser(site: Site, tabs: Tabs) -> None:
    tab = await tabs("news")
    await tab.live()
    await tab.see(f"(() => {{ {HANG_ONCE} }})()")
    await tab.see("void client.channel('mine').publish(1)")
    await tab.reach("posts === 1")
    # Behind one that is under way: nothing of this would be sent but for the end of the page.
    await tab.see("void [2, 3].map((n) => client.channel('mine').publish(n))")
    await tab.page.goto(site.url + "/version")
    await until(lambda: asyncio.to_thread(lambda: site.history("mine") == [1, 2, 3]))


async def test_a_leader_that_is_put_away_hands_over_at_once_though_its_page_lives(
    site: Site, tabs: Tabs
) -> None:
    leader = await tabs("news")
    await leader.live()
    follower = await tabs("news")
    await follower.live()
    assert (await follower.explain())["role"] == "follower"
    await leader.see("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    # The lock is free: nobody has to find that the leader is silent, and take it away.
    await follower.reach("client.explain().role === 'leader'", within=10)
    assert not [line for line in (await follower.explain())["tried"] if "silent" in line]
    held = await follower.see("navigator.locks.query().then(({ held }) => held.length)")
    assert held == 1
    site.publish("news", 1)
    await follower.hears(1)
    # And back again it follows.
    await leader.see("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    await leader.hears(1)
    assert (await leader.explain())["role"] == "follower"
    await site.settles("live_subscribers", 1)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["websocket", "sse", "long-polling", "polling"])
async def test_while_others_hear_a_busy_channel_a_reload_has_no_hole_and_a_new_tab_its_whole_past(
    site: Site, tabs: Tabs, transport: str
) -> None:
    leader = await tabs("news", transports=[transport])
    await leader.live()
    tab = await tabs("news", persist=True, transports=[transport])
    for one in (leader, tab):
        await one.reach("client.explain().began.length")
    done = asyncio.Event()
    published = 0

    async def publish() -> None:
        nonlocal published
        with tidings.Publisher(site.url) as publisher:
            while not done.is_set():
                await asyncio.to_thread(publisher.publish, "news", published)
                published += 1
                await asyncio.sleep(0.01)  # a poll comes before any of them is dropped

    publishing = asyncio.create_task(publish())
    heard: list[int] = []
    for _ in range(4):
        await tab.reach("heard.length > 5")
        # From here on the page is told nothing; what it was told is read, and then it is loaded anew.
        await tab.see("dispatchEvent(new Event('pagehide'))")
        heard += await tab.heard()
        await tab.reload()
        await tab.connect("news", persist=True, transports=[transport])
        # Beside it others come, who want more of the channel, and less.
        for start in ({"after": "earliest"}, {"rewind": 1}):
            new = await tabs("news", start=start, transports=[transport])
            await new.reach("heard.length > 5")
            told = await new.heard()
            assert told == list(range(told[0], told[0] + len(told)))
            if "after" in start:
                assert told[0] <= site.history("news")[0]
            await new.page.close()
    done.set()
    await publishing
    for one, before in ((tab, heard), (leader, [])):
        await one.reach(f"heard.at(-1) === {published - 1}")
        assert before + await one.heard() == list(range(published))
        assert await one.see("gaps") == []


@pytest.mark.parametrize("transport", ["long-polling", "polling", "sse"])
async def test_a_tab_that_asks_for_a_past_of_which_another_has_had_a_page_gets_all_of_it(
    site: Site, tabs: Tabs, transport: str
) -> None:
    past = list(range(700))  # three pages
    site.publish("news", *past)
    leader = await tabs("other", transports=[transport])
    await leader.live()
    go_on = asyncio.Event()

    async def hold(route: Route) -> None:
        """Keep back whatever follows the first page of the past."""
        if not route.request.url.endswith("earliest"):
            await go_on.wait()
        await route.continue_()

    await leader.page.route("**/channels/news?after=**", hold)
    # A tab that comes makes the leader ask anew, so both are there before.
    first, second = [await tabs("other", transports=[transport]) for _ in range(2)]
    for tab in (first, second):
        await tab.live()
    await leader.see(_COUNT_WANTS)
    await first.see(_WANT_ALL)
    await first.reach("heard.length === 300")
    await second.see(_WANT_ALL)
    await leader.reach("wants === 2")
    go_on.set()
    for tab in (first, second):
        await tab.hears(*past)
    site.publish("news", "live")
    for tab in (first, second):
        await tab.hears(*past, "live")
        assert await tab.see("gaps") == []
