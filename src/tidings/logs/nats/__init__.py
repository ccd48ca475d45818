"""A log in NATS JetStream: one stream, which many machines may share.

log.py     the port
url.py     what the URL says
link.py    one connection, which is lost once and for good
record.py  names, and messages as they are read
stream.py  the stream, its bounds and its lives
node.py    staying connected, and from one life to the next
append.py  publishing
tail.py    one consumer, of which nothing is missed
follow.py  following, from consumer to consumer
"""

from tidings.logs.nats.log import NatsLog

__all__ = ["NatsLog"]
