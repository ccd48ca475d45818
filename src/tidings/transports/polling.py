"""Ajax polling: the client asks again and again, and is answered at once (spec §5.1).

Its cost: most questions are asked in vain. With messages at rate r and a question every i seconds,
exp(-r·i) of the answers are empty, and a message waits i/2 on average. Its merit: nothing on the way
can break it, and the server keeps nothing between two questions.
"""

from typing import Final

from tidings.hub import Hub
from tidings.transports.answers import Answer, look, tell, tell_shared
from tidings.transports.ask import Ask
from tidings.transports.carrier import Carrier


def answer(hub: Hub, ask: Ask, _carrier: Carrier) -> Answer:
    """Return what follows the client's cursor now, which may be nothing.

    Until the next message everyone who asks the same gets the same answer, rendered once.
    """
    if (known := hub.shared.get(ask)) is not None:
        return tell_shared(hub, known)
    place, found = look(hub, ask)
    return tell(hub, ask, place, found, share=True, advice={"poll_ms": advised_ms(hub, ask.channels)})


# The steps between which the advice moves: a few, so that who asks alike is answered alike.
_STEPS_MS: Final = (250, 500, 1_000, 2_000, 5_000, 10_000, 30_000)
_QUIET_MS: Final = 5_000  # no channel is so quiet that its next message should wait longer
_LAG: Final = 0.05  # seconds that the event loop may be late before pollers are slowed down


def advised_ms(hub: Hub, channels: tuple[str, ...]) -> int:
    """Return how long to wait before asking again, in milliseconds (spec §5.5).

    About the time between two of the last messages, so that most questions are not asked in vain;
    longer where the server is loaded.
    """
    wanted = min(hub.places.pace(channels) * 1000, _QUIET_MS) * max(1.0, hub.lag / _LAG)
    return next((step for step in _STEPS_MS if step >= wanted), _STEPS_MS[-1])
