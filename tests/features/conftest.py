"""The fixtures of tests/fixtures.py."""

from fixtures import _clean, channel, shared

__all__ = ["_clean", "channel", "shared"]
