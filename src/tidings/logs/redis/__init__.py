"""The log in Redis or Valkey Streams: shared by all nodes that name the same Redis.

    log.py     the port
    url.py     what the URL says
    link.py    one connection
    script.py  what happens inside Redis, and the format of what is kept there
    join.py    which life goes on, asked first on each connection
    known.py   what this node has seen
    writer.py  appending
    tail.py    following

`stored` means: in Redis's append-only file, as far as the kernel; `synced`: fsynced there (`appendfsync
always`). Neither speaks of replicas: replication is asynchronous, and a failover may lose what was
acknowledged. It begins a new life then, so that everybody is told.
"""

from tidings.logs.redis.log import RedisLog

__all__ = ["RedisLog"]
