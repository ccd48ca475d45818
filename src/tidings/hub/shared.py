"""Answers that are the same for all who ask the same, kept until the next message.

Owns: for how long, and how many. Does not own: what a question is; equal ones are equal keys.
"""

from collections.abc import Hashable
from typing import Any, Final

_MOST: Final = 1_000


class SharedAnswers:
    """Answers by question."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, Any] = {}

    def get(self, question: Hashable) -> Any:
        """Return the answer that is shared for `question`, or None."""
        return self._answers.get(question)

    def put(self, question: Hashable, answer: Any) -> None:
        """Share `answer` with all who ask `question` before the next message."""
        if len(self._answers) >= _MOST:
            self._answers.clear()
        self._answers[question] = answer

    def clear(self) -> None:
        """Forget all: something new was published, or something old dropped."""
        self._answers.clear()
