"""A publish that waits for the log's answer."""

import asyncio
import gc
from asyncio import AbstractEventLoop, Future
from typing import Any, cast

from tidings.core.errors import Refusal
from tidings.core.message import Receipt
from tidings.server.publish import _Pending
from tidings.transports.carrier import Carrier
from tidings.wire.http import Response


def _never(_receipts: list[Receipt]) -> Response:
    raise AssertionError("nobody is there to be told")


async def test_a_publish_that_fails_when_its_publisher_is_gone_is_no_error() -> None:
    complaints: list[dict[str, Any]] = []

    def complain(_loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        complaints.append(context)

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(complain)
    receipts: Future[list[Receipt]] = loop.create_future()
    # Nobody is left to be answered, so there is no carrier.
    pending = _Pending(cast("Carrier", None), _never)
    receipts.add_done_callback(pending.appended)
    pending.lost()
    receipts.set_exception(Refusal("log_unavailable", "The log did not answer."))
    await asyncio.sleep(0)
    del receipts
    gc.collect()
    assert not complaints
