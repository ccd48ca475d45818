"""The four transports, one file each: the same step on the same hub, and four ways to wait."""
