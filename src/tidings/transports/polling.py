"""Ajax polling: the client asks again and again, and is answered at once (spec §5.1).

Its cost: most questions are asked in vain. With messages at rate r and a question every i seconds,
exp(-r·i) of the answers are empty, and a message waits i/2 on average. Its merit: nothing on the way
can break it, and the server keeps nothing between two questions.
"""

from tidings.hub import Hub
from tidings.transports.answers import Answer, look, tell
from tidings.transports.ask import Ask


def answer(hub: Hub, ask: Ask) -> Answer:
    """Return what follows the client's cursor now, which may be nothing.

    Until the next message everyone who asks the same gets the same answer, rendered once.
    """
    shared: Answer | None = hub.shared(ask)
    if shared is not None:
        return shared
    place, found = look(hub, ask)
    response = tell(hub, ask, place, found)
    hub.share(ask, response, len(found.messages))
    return response
