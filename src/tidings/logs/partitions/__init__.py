"""One log made of several, for when one stream of an engine cannot take all that is published."""

from tidings.logs.partitions.log import PartitionedLog

__all__ = ["PartitionedLog"]
