"""The transports' names, colours and shapes, as on every page.

Owns: what a reader knows a transport by. Does not own: where it is drawn.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Look:
    """A transport's name; its colours on paper and on black; its shape in a terminal and in a plot."""

    name: str
    on_paper: str
    on_black: str
    shape: str
    marker: str


# In the order of the story, which is the order everywhere.
LOOKS: Final = {
    "polling": Look("Polling", "#E69F00", "#F0B43C", "○", "o"),
    "long-polling": Look("Long-polling", "#B5578E", "#DD8FBE", "◐", "s"),
    "sse": Look("Server-Sent Events", "#009E73", "#3CC79E", "▸", "v"),
    "websocket": Look("WebSocket", "#0072B2", "#56B4E9", "●", "D"),
}
TRANSPORTS: Final = tuple(LOOKS)
