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
LOG_OPEN_TIMEOUT: Final = 10.0  # a log that cannot be reached at the start ends it, for a supervisor to see
LOG_TIMEOUT: Final = 2.0  # for an append: a publisher is better told soon than kept
LOG_PENDING: Final = 10_000  # messages that wait for the log's answer; more are refused at once
LOG_PENDING_BYTES: Final = 64 * 1024 * 1024  # their records, on the way to NATS
LOG_PULSE: Final = 1.0  # between two signs of life of Redis or NATS: half of what is a silence
LOG_BACKOFF: Final = 1.0  # the longest wait before an engine that was lost is tried again
LOG_PAST_LIVES: Final = 1_000  # of a stream in NATS that are known again, about 100 bytes each
LOG_RECORD_BYTES: Final = 128 * 1024  # one message in a log that others can write to: its body and its names
LOG_AWAY_ADVICE: Final = (
    5.0  # a node that has not heard its log for so long tells its clients to look elsewhere
)
LOG_AWAY_CLOSE: Final = 20.0  # and after so long closes their streams (1013)
LOG_RETRY: Final = 1.0  # between two tries to take up a log file whose disk failed
LOG_GROUP: Final = 1_000  # messages in one commit to a file; the last append may go beyond
LOG_GROUP_BYTES: Final = 4 * 1024 * 1024  # and their data
LOG_DROP_STEP: Final = 256  # old messages dropped in one step, besides two for each that is appended with it
LOG_CHECKPOINT_BYTES: Final = 1024 * 1024  # written since the last one: a file's WAL is worked off when idle
LOG_CHECKPOINT_BYTES_MOST: Final = 16 * 1024 * 1024  # and now, however busy
LOG_FOLLOW_PATIENCE: Final = 10.0  # for a follower that does not take what it still has to read of a file
REDIS_CALLS: Final = 4  # on the way at once: hides the time there and back; what waits grows together
REDIS_CALL_MESSAGES: Final = 256  # of one call: about 2 ms of Redis's time, in which it serves nobody else
REDIS_CALL_BYTES: Final = 1024 * 1024  # and their records
REDIS_READ_MESSAGES: Final = 100  # of one answer: usually a few, and at worst so many of the largest kind
NATS_PULL_MESSAGES: Final = 512  # on the way to a follower at once, however slow it is
NATS_PULL_BYTES: Final = 2 * 1024 * 1024  # of one request for them; there are two at most
NATS_CONSUMER_IDLE: Final = 60  # whole seconds until the server forgets a consumer that nobody pulls from
NATS_SERVERS: Final = 64  # of one cluster, as its servers tell us
NATS_READERS: Final = 8  # channels of one read that are asked for at a time

# Workers: processes that share one server's sockets, and a log of their parent
WORKERS: Final = 256  # processes of one server; one for each core is right
WORKER_FRAME_BYTES: Final = 16 * 1024 * 1024  # one append to the most channels, with the largest body
WORKER_BUFFER: Final = 4 * 1024 * 1024  # held by either side for the other while that does not read
WORKER_PATIENCE: Final = 0.1  # for such a worker before only its place in the log is remembered
WORKER_REPORT: Final = 1.0  # between two reports of figures: what is lost of them when a worker is killed
WORKER_ANSWER: Final = 0.5  # for a worker's figures when all are asked; then its last report counts
WORKER_START: Final = 30.0  # until a worker is ready; imports are slow on a cold disk
WORKER_SILENCE: Final = 30.0  # without a report, then a worker is replaced: its event loop stands still
WORKER_BACKOFF: Final = 10.0  # the longest wait before a worker that ends at once is started again

# A log of partitions
PARTITIONS: Final = 64
PARTITIONS_PER_CURSOR: Final = 7  # places of up to twelve digits in one cursor

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
STATIC_FILE_BYTES: Final = 1024 * 1024  # a client that does not read holds it whole, as it may hold an answer
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
COMMAND_ERRORS_FORGET: Final = 600.0  # without one for so long, and they are counted anew
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
LAG_LOOKS: Final = 4  # in a row that must find the loop late: one long turn is not yet a load
DRAIN_STEP: Final = 0.05
