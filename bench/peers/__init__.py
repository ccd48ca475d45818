"""The servers that a user would pick instead: how each is installed, started and spoken to."""
