"""Every default number, with its unit and its reason.

Durations are seconds and sizes bytes, unless the name says otherwise. What is a setting
(server/config.py) takes its default here; what is not is fixed by the protocol.
"""

from typing import Final

# Names
CHANNEL_NAME_BYTES: Final = 200
EVENT_NAME_BYTES: Final = 64
KEY_BYTES: Final = 200
CURSOR_BYTES: Final = 128  # a longer Last-Event-ID costs a browser a preflight across origins
CHANNELS_PER_REQUEST: Final = 128

# The log and its windows (promise 4: whichever bound comes first)
HISTORY_COUNT: Final = 1_000  # messages a channel
HISTORY_AGE: Final = 300.0
HISTORY_BYTES: Final = 256 * 1024 * 1024  # a process
LOST_MARKS: Final = 100_000  # channels remembered only by what they lost, about 150 bytes each
IDEMPOTENCY_AGE: Final = 600.0
IDEMPOTENCY_KEYS: Final = 100_000  # a process; the oldest are forgotten first

# One answer
ANSWER_MESSAGES: Final = 300
ANSWER_MESSAGES_MOST: Final = 1_000
ANSWER_BYTES: Final = 1024 * 1024  # an answer is cut here (with `more`), at least one message long
WAIT: Final = 25.0  # long-poll where it is asked for without a number; under the usual 30 s of proxies
WAIT_MOST: Final = 55.0  # under the 60 s at which load balancers cut
WRITE_BUFFER: Final = 64 * 1024  # what one connection that does not read may hold, and one joined write
UNSENT_IN_KERNEL: Final = 64 * 1024  # TCP_NOTSENT_LOWAT: the kernel else hides up to 4 MiB a client

# One request
BODY_BYTES: Final = 64 * 1024
BATCH_LINES: Final = 100
BATCH_BYTES: Final = 256 * 1024
PUBLISH_TIMEOUT: Final = 10.0  # for the log's answer; then the publisher is told to ask again
HEAD_BYTES: Final = 16 * 1024
HEADER_BYTES: Final = 8 * 1024
HEADERS: Final = 128
URI_BYTES: Final = 8 * 1024
PIPELINED_BYTES: Final = 256 * 1024  # kept behind a request that waits for its answer: one read of the loop
HEAD_TIMEOUT: Final = 10.0  # from the first byte of a head to its last
BODY_TIMEOUT: Final = 10.0  # from the end of the head to the end of the body: at most 64 KiB
KEEP_ALIVE: Final = 75.0  # idle time between requests; above the 60 s that proxies reuse connections for

# One WebSocket
MESSAGE_BYTES: Final = 64 * 1024
FRAGMENTS: Final = 1_024
EMPTY_FRAGMENTS: Final = 16  # in a row: no client has a reason to send one
COMMAND_ERRORS: Final = 10  # then 4500
PING_EVERY: Final = 25.0  # mobile networks forget silent connections from 30 s on
PONG_GRACE: Final = 10.0
CLOSE_GRACE: Final = 2.0  # for the peer's half of a closing handshake

# One event stream
COMMENT_EVERY: Final = 15.0  # antivirus and proxies cut silent streams from 20 s on
RETRY_MS: Final = 1_000  # what `retry:` tells an EventSource
STREAM_AGE: Final = 600.0  # after which a stream ends by itself
STREAM_AGE_SPREAD: Final = 0.2  # of it, earlier or later by chance

# The process
CONNECTIONS: Final = 19_000
WRITE_TIMEOUT: Final = 60.0  # a subscriber that takes nothing for so long is cut
DRAIN: Final = 5.0  # closes are spread over this time after SIGTERM
HOUSEKEEPING: Final = 0.5  # between two looks at what is too old, and at how late the loop is
DRAIN_STEP: Final = 0.05
