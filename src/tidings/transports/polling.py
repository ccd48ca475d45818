"""Ajax polling: the client asks again and again, and is answered at once (spec §5.1).

Its cost: most questions are asked in vain. With messages at rate r and a question every i seconds,
exp(-r·i) of the answers are empty, and a message waits i/2 on average. Its merit: nothing on the way
can break it, and the server keeps nothing between two questions.
"""

from tidings.core import limits
from tidings.hub import Hub
from tidings.transports.answers import Answer, respond
from tidings.transports.ask import Ask


def answer(hub: Hub, ask: Ask) -> Answer:
    """Return what follows the client's cursor now, which may be nothing."""
    place = hub.locate(ask.channels, ask.start)
    found = hub.read(ask.channels, place, ask.limit, limits.ANSWER_BYTES)
    cursor = hub.cursor(hub.end_of(ask.channels, place, found))
    hub.stats.delivered += len(found.messages)
    return respond(found.messages, cursor, place.gaps, more=found.more, known=ask.known)
