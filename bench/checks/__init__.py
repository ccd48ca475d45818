"""Scripted servers, and what the generator must count of what they say."""
