"""How many descriptors the process may have, and so how many connections it can take.

Where they run out, the kernel's word for a new client is a closed connection: no 503, no moment to come back.
So the limit on connections is kept below.

Owns: the soft limit of this process. Does not own: the hard one, which is the operator's (LimitNOFILE).
"""

import logging
import resource
from typing import Final

import msgspec

from tidings.server.config import Settings

_log = logging.getLogger("tidings.server")

# For what is no client's connection: a log's files and links, those that are told to come back.
_SPARE: Final = 256


def provide(settings: Settings) -> Settings:
    """Raise the soft limit as far as connections need it; return settings that fit what there is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return settings
    each = -(-settings.connections // settings.workers)
    if soft < each + _SPARE and soft != hard:
        wanted = each + _SPARE
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = max(soft - _SPARE, soft // 2)
    if each <= most:
        return settings
    _log.warning(
        "too_few_descriptors allowed=%d connections=%d instead_of=%d: raise LimitNOFILE (ulimit -n) to %d",
        soft,
        most * settings.workers,
        settings.connections,
        each + _SPARE,
    )
    return msgspec.structs.replace(settings, connections=most * settings.workers)
