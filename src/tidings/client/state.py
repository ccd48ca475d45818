"""How a subscription's connection stands.

Owns: the states and their words. Does not own: when there is another (supervisor.py).
"""

from dataclasses import dataclass
from typing import Literal

StateName = Literal["idle", "connecting", "live", "recovering", "offline", "failed"]


@dataclass(frozen=True, slots=True)
class State:
    """One state; `transport` is the one in use, or the one that is tried now or next.

    `idle`: nothing was asked for yet, or it was closed. `connecting`: it never was live. `live`.
    `recovering`: it was cut, and comes back where it was. `offline`: the server cannot be reached. `failed`:
    it will not come back.
    `reason` says why it is not live, where that is known, and `wait` in how many seconds it is tried again.
    """

    name: StateName
    transport: str
    reason: str = ""
    wait: float = 0.0

    def __str__(self) -> str:
        text = (
            self.name if self.name in {"idle", "offline", "failed"} else f"{self.name} over {self.transport}"
        )
        if self.reason:
            text += f" ({self.reason.rstrip('.')})"
        if self.wait:
            text += f", again within {self.wait:.1f} s"
        return text
