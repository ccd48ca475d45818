"""Where a subscription stands, and what each word of the server makes of it (spec §3.2, §3.3).

Owns: the cursor, what has been had already, and gaps that were told. Does not own: hints (recovery.py), or
when anything is read. Pure: no loop, no clock.
Invariant: everything up to `cursor` was taken, or told as a gap; nothing above it was.
"""

from tidings.client.cursor import earlier, further, had
from tidings.client.items import Gap, Message, Reached, Ready, Sign


class Place:
    """The one cursor of a subscription, for all its channels and transports."""

    def __init__(self, after: str | None) -> None:
        """Take where to begin: a cursor, `earliest`, or None for from now on."""
        self.after = after
        # Where the cursor goes once a group of gaps is complete.
        self._behind_gaps: str | None = None
        # Gaps told since the last message: a stream cut among them tells them again.
        self._told: set[Gap] = set()

    @property
    def cursor(self) -> str | None:
        """Everything up to here was taken; None: nothing is known yet."""
        return self.after if self.after != "earliest" else None

    def begin(self) -> None:
        """A new connection begins: gaps whose group was cut are told again from the start."""
        self._behind_gaps = None

    def take(self, sign: Sign) -> Message | Gap | None:
        """Move by one sign; return what is to be handed out, None where there is nothing new."""
        match sign:
            case Message():
                self.settle()
                if had(self.after, sign.id):
                    return None
                self.after = further(self.after, sign.id)
                self._told.clear()
                return sign
            case Gap():
                if sign.reason != "retention":
                    # Several may come at once, one a channel: what follows all of them begins at the
                    # smallest.
                    self._behind_gaps = earlier(self._behind_gaps, sign.resumed)
                if sign in self._told:
                    return None
                self._told.add(sign)
                return sign
            case Reached():
                # Not backwards, but where the cursor is from a future or a life of the log that is no more.
                if self._behind_gaps is not None:
                    self.after = sign.cursor
                elif not had(self.after, sign.cursor):
                    self.after = further(self.after, sign.cursor)
                self._behind_gaps = None
            case Ready():
                if sign.cursor is not None and self.cursor is None:
                    self.after = sign.cursor
        return None

    def settle(self) -> None:
        """Move behind a group of gaps. Not at the gap itself: a cut among them must find the old cursor."""
        if self._behind_gaps is not None:
            self.after = self._behind_gaps
            self._behind_gaps = None
