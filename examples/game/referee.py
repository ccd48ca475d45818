"""The referee of the game: what it says happened, happened.

    python examples/game/referee.py [--url http://127.0.0.1:8080] [--bots 3]

A client like any other. It subscribes to `game.inputs`, where each player says which way they push, moves the
world 30 times a second, and publishes each state of it, whole, to `game.world`. The server should have the
policy `latest` for that channel (`--slow game.world=latest`): who is behind is then told the newest only.
"""

import argparse
import asyncio
import contextlib
import itertools
import math
import random
import signal
import sys
from dataclasses import dataclass, field
from typing import Any

import tidings
from tidings.client import ClientError

TICK = 1 / 30  # seconds
WIDTH, HEIGHT = 1600, 1000
PUSH = 1500.0  # per second, per second
DRAG = 2.6  # share of the speed that is lost in a second, roughly: it ends at PUSH / DRAG
HARD = 260.0  # a bump at this speed costs the slower one a point
DOTS, DOT_SIZE = 40, 7
PLAYERS = 60  # at most
GONE = 8.0  # seconds without a word


@dataclass
class Player:
    """One disc. `n` is the number of the last input, and `since` the tick from which on it was heeded.

    So a page knows when what it draws has heeded what it said.
    """

    id: str
    name: str
    x: float
    y: float
    dx: float = 0.0
    dy: float = 0.0
    vx: float = 0.0
    vy: float = 0.0
    points: int = 0
    n: int = 0
    since: int = 0
    heard: float = 0.0
    bot: bool = False

    @property
    def size(self) -> float:
        return 24 + 4 * math.sqrt(min(self.points, 100))

    @property
    def speed(self) -> float:
        return math.hypot(self.vx, self.vy)


@dataclass
class World:
    """All discs and dots, and how they move. Time comes in as an argument, and so does chance."""

    chance: random.Random
    players: dict[str, Player] = field(default_factory=dict)
    dots: list[tuple[float, float]] = field(default_factory=list)
    tick: int = 0

    def place(self) -> tuple[float, float]:
        return self.chance.uniform(60, WIDTH - 60), self.chance.uniform(60, HEIGHT - 60)

    def heed(self, data: Any, now: float) -> None:
        """Take an input. Anybody may publish one: what is none is passed over."""
        match data:
            case {"id": str(who), "leave": True}:
                self.players.pop(who, None)
            case {
                "id": str(who),
                "name": str(name),
                "dx": int() | float() as dx,
                "dy": int() | float() as dy,
            }:
                player = self.players.get(who)
                if player is None:
                    if len(self.players) >= PLAYERS or not 0 < len(who) <= 20:
                        return
                    player = self.players[who] = Player(who, name, *self.place())
                length = max(1.0, math.hypot(dx, dy))
                if not math.isfinite(length) or player.bot:
                    return
                player.name = name[:20]
                player.dx, player.dy = dx / length, dy / length
                player.n = data["n"] if isinstance(data.get("n"), int) else 0
                player.since = self.tick + 1
                player.heard = now

    def step(self, now: float) -> None:
        """Move everything by one tick."""
        self.tick += 1
        for who in [p.id for p in self.players.values() if not p.bot and now - p.heard > GONE]:
            del self.players[who]
        while len(self.dots) < DOTS:
            self.dots.append(self.place())
        for player in self.players.values():
            if player.bot:
                self._think(player)
            self._move(player)
        for one, other in itertools.combinations(self.players.values(), 2):
            self._bump(one, other)
        for player in self.players.values():
            left = [dot for dot in self.dots if math.dist(dot, (player.x, player.y)) > player.size + DOT_SIZE]
            player.points += len(self.dots) - len(left)
            self.dots = left

    def _move(self, player: Player) -> None:
        keep = math.exp(-DRAG * TICK)
        player.vx = (player.vx + player.dx * PUSH * TICK) * keep
        player.vy = (player.vy + player.dy * PUSH * TICK) * keep
        player.x += player.vx * TICK
        player.y += player.vy * TICK
        size = player.size
        if not size <= player.x <= WIDTH - size:
            player.x = min(max(player.x, size), WIDTH - size)
            player.vx *= -0.7
        if not size <= player.y <= HEIGHT - size:
            player.y = min(max(player.y, size), HEIGHT - size)
            player.vy *= -0.7

    def _bump(self, one: Player, other: Player) -> None:
        """Let two discs that touch bounce off each other, as elastic discs do."""
        away = math.dist((one.x, one.y), (other.x, other.y))
        overlap = one.size + other.size - away
        if overlap <= 0:
            return
        nx, ny = ((other.x - one.x) / away, (other.y - one.y) / away) if away else (1.0, 0.0)
        mass_one, mass_other = one.size**2, other.size**2
        both = mass_one + mass_other
        one.x -= nx * overlap * mass_other / both
        one.y -= ny * overlap * mass_other / both
        other.x += nx * overlap * mass_one / both
        other.y += ny * overlap * mass_one / both
        towards = (one.vx - other.vx) * nx + (one.vy - other.vy) * ny
        if towards <= 0:
            return
        slower = min(one, other, key=lambda player: player.speed)
        if towards > HARD and slower.points:
            slower.points -= 1
            self.dots.append(self.place())
        push = 1.9 * towards / both
        one.vx -= push * mass_other * nx
        one.vy -= push * mass_other * ny
        other.vx += push * mass_one * nx
        other.vy += push * mass_one * ny

    def _think(self, bot: Player) -> None:
        """A bot goes for the nearest dot, at its leisure."""
        x, y = min(self.dots, key=lambda dot: math.dist(dot, (bot.x, bot.y)))
        away = max(1.0, math.dist((x, y), (bot.x, bot.y)))
        bot.dx, bot.dy = 0.45 * (x - bot.x) / away, 0.45 * (y - bot.y) / away

    def state(self, life: str) -> dict[str, Any]:
        """Return all that a page needs to draw the world; each state can be understood without the others."""
        return {
            "life": life,
            "tick": self.tick,
            "players": [
                [p.id, p.name, round(p.x, 1), round(p.y, 1), round(p.size, 1), p.points, p.n, p.since]
                for p in self.players.values()
            ],
            "dots": [[round(x), round(y)] for x, y in self.dots],
        }


async def listen(client: tidings.Client, world: World) -> None:
    loop = asyncio.get_running_loop()
    async for item in client.subscribe("game.inputs"):
        if isinstance(item, tidings.Message):
            world.heed(item.data, loop.time())


async def run(client: tidings.Client, world: World) -> None:
    loop = asyncio.get_running_loop()
    life = f"{random.getrandbits(40):x}"
    due, trouble = loop.time(), False
    while True:
        # Late by some ticks we make up for them; after a longer pause the world has stood still.
        due = max(due, loop.time() - 10 * TICK)
        while due <= loop.time():
            world.step(loop.time())
            due += TICK
        alone = all(player.bot for player in world.players.values())
        if not alone or world.tick % 30 == 0:
            try:
                # A state is old after the next: no use in trying for long.
                await client.publish("game.world", world.state(life), timeout=1.0)
                trouble = False
            except ClientError as error:
                if not trouble:
                    print(f"referee: {error}; going on", file=sys.stderr, flush=True)
                trouble = True
        await asyncio.sleep(max(0.0, due - loop.time()))


async def referee(url: str, bots: int) -> None:
    world = World(random.Random())  # noqa: S311 - a game, no secret
    for number in range(bots):
        player = Player(f"bot{number}", f"bot {number + 1}", *world.place(), bot=True)
        world.players[player.id] = player
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with tidings.connect(url) as client:
        tasks = [
            asyncio.create_task(work) for work in (listen(client, world), run(client, world), stop.wait())
        ]
        done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        for task in done:
            task.result()  # what ended one of them is raised
        for task in others:
            with contextlib.suppress(asyncio.CancelledError):
                await task


def main() -> None:
    options = argparse.ArgumentParser(description="Run the game's world.")
    options.add_argument("--url", default="http://127.0.0.1:8080", help="the server (default: %(default)s)")
    options.add_argument("--bots", type=int, default=3, help="discs that play by themselves (default: 3)")
    chosen = options.parse_args()
    asyncio.run(referee(chosen.url, chosen.bots))


if __name__ == "__main__":
    main()
