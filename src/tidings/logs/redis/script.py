"""What runs inside Redis: two scripts over four keys, and how they are called.

    {name}:meta           a hash: the life, its head, what retention needs
    {name}:log            the stream, one entry for each message
    {name}:seen, :before  hashes of idempotency keys; `before` is what `seen` was when it got old or full

An entry's id is POSITION-NONCE. Redis demands only that ids rise, and positions do; the nonce is the
appending node's, one for each call. The field `x` is "TIME_MS SUM LINK", the field `d` the record
(wire/record.py). SUM is the weight of all messages so far. LINK is the nonce of the entry before, and for
the first entry that a life appends, the name of the life. So the entries are a chain: an entry whose LINK
is not what its reader expects does not follow what the reader has seen, whatever happened to the data
in between: emptied, restored, replaced by that of a replica that lost its tail.

Owns: numbering, idempotency, retention and the beginning of lives, each atomic. Does not own: when they
are called (writer.py, tail.py).
Invariant: within one life the chain is unbroken, and only trimmed at its beginning.

A new life begins

- empty, where there is none, or its stream is gone or full of what is not ours;
- with all that is kept, where the caller has seen an entry that is not there (a lost tail), or where another
  process serves the data than the one that wrote its end, and may have lost what some other node has
  seen: a promoted replica, or one without an append-only file.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tidings.core import limits
from tidings.core.history import Retention
from tidings.logs.redis.link import Link
from tidings.logs.redis.url import Place

_APPEND: Final = """
local meta, log, seen, before = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local run, trusted, fresh, nonce = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local known_epoch, known, known_link = ARGV[5], tonumber(ARGV[6]), ARGV[7]
local age, most = tonumber(ARGV[8]), tonumber(ARGV[9])
local key_age, key_count = tonumber(ARGV[10]), tonumber(ARGV[11])

local function text(number) return string.format('%.0f', number) end
local function position(entry) return tonumber(string.match(entry[1], '^%d+')) end
local function read(entry)
  if entry and entry[2][1] == 'x' then
    local time, sum, link = string.match(entry[2][2], '^(%d+) (%d+) (%w+)$')
    return tonumber(time), tonumber(sum), link
  end
end
-- What was kept of another life is followed by the first entry of this one.
local function follows(link) return link == known_link or link == known_epoch end
local function weight(entry) return 900 + 4 * #(entry[2][4] or '') end

local m = redis.call('HMGET', meta,
  'epoch', 'head', 'link', 'time', 'sum', 'floor', 'old', 'run', 'data', 'turned')
local epoch, head, link, data = m[1], tonumber(m[2] or 0), m[3], m[9]
local time, sum, floor = tonumber(m[4] or 0), tonumber(m[5] or 0), tonumber(m[6] or 0)
local old, turned = tonumber(m[7] or 0), tonumber(m[10] or 0)
local changed, settled, added = false, false, 0

local clock = redis.call('TIME')
local now = math.max(time, clock[1] * 1000 + math.floor(clock[2] / 1000))

local function begin() epoch, link, changed, settled = fresh, fresh, true, true end
local function begin_empty()
  redis.call('UNLINK', log, seen, before)
  head, sum, floor, old, turned, data = 0, 0, 0, now, now, fresh
  begin()
end

if epoch and redis.call('EXISTS', log) == 0 and head > 0 then
  begin_empty()
elseif not epoch then
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  local _, last_sum = read(last)
  if last and not last_sum then
    return redis.error_reply('NOTOURS somebody else keeps a stream here')
  elseif last and position(last) < 2^52 then
    -- Only `meta` is gone.
    local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    local first_time, first_sum = read(first)
    head, sum, data, turned = position(last), last_sum, fresh, now
    floor, old = (first_sum or 0) - weight(first), first_time or 0
    begin()
  else
    begin_empty()
  end
elseif run ~= m[8] and trusted == '0' then
  begin()
elseif epoch == known_epoch then
  if head < known or (head == known and not follows(link)) then
    begin()
  elseif head > known then
    local entry = redis.call('XRANGE', log, text(known + 1), '+', 'COUNT', 1)[1]
    local _, _, before_it = read(entry)
    -- What was trimmed between cannot be compared.
    if before_it and not follows(before_it) and (position(entry) == known + 1
        or #redis.call('XREVRANGE', log, text(known), '-', 'COUNT', 1) > 0) then
      begin()
    end
  end
end
if run ~= m[8] then settled = true end

local function add(record)
  head, sum = head + 1, sum + 900 + 4 * #record
  local id, x = string.format('%.0f-%s', head, nonce), string.format('%.0f %.0f %s', now, sum, link)
  local done = redis.pcall('XADD', log, id, 'x', x, 'd', record)
  if type(done) == 'table' and done.err then
    head, sum = head - 1, sum - 900 - 4 * #record
    return done
  end
  if floor + 900 + 4 * #record == sum then old, settled = now, true end
  link, changed, added = nonce, true, added + #record
end

local places = {}
local count = tonumber(ARGV[12])
for n = 1, count do
  local record, key = ARGV[11 + 2 * n], ARGV[12 + 2 * n]
  local place
  if key ~= '' then
    if now - turned >= key_age or redis.call('HLEN', seen) >= key_count / 2 then
      redis.call('UNLINK', before)
      if redis.call('EXISTS', seen) == 1 then redis.call('RENAME', seen, before) end
      turned, settled = now, true
    end
    local found = redis.call('HGET', seen, key) or redis.call('HGET', before, key) or ''
    local its_data, its_time, its_place = string.match(found, '^(%w+) (%d+) (%d+)$')
    if its_data == data and tonumber(its_time) > now - key_age then place = -tonumber(its_place) end
  end
  if not place then
    local failed = add(record)
    local why = failed and failed.err or ''
    if string.find(why, 'equal or smaller') or string.find(why, 'exhausted') then
      -- Somebody else has added to the stream. We go on behind it, where there is room.
      local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
      if last and position(last) > head and position(last) < 2^52 then head = position(last) end
      failed = add(record)
      if failed and n == 1 then
        begin_empty()
        failed = add(record)
      end
    end
    if failed then return failed end
    place = head
    if key ~= '' then redis.call('HSET', seen, key, data .. ' ' .. text(now) .. ' ' .. text(head)) end
  end
  places[n] = place
end

-- Retention, a little at once every now and then, in steps that grow with what was appended: neither does
-- every call look at old entries, nor does a long past hold up one of them.
local room, bytes = 2 * count + 512, 2 * added + 2^22
if now - old <= age + math.min(1000, age / 8) and sum - floor <= most then room = 0 end
local less = most - most / 64
while room > 0 and bytes > 0 and sum > floor and (now - old > age or sum - floor > less) do
  local entries = redis.call('XRANGE', log, '-', '+', 'COUNT', 16)
  local keep
  for _, entry in ipairs(entries) do
    local its_time, its_sum = read(entry)
    if its_sum then
      floor, old = its_sum - weight(entry), its_time
      if now - its_time <= age and sum - floor <= less then
        keep = entry[1]
        break
      end
      floor = its_sum
    end
    room, bytes = room - 1, bytes - #(entry[2][4] or '')
  end
  settled = true
  if keep then
    redis.call('XTRIM', log, 'MINID', keep)
    break
  end
  redis.call('XTRIM', log, 'MAXLEN', math.max(redis.call('XLEN', log) - #entries, 0))
  if #entries < 16 then floor, old = sum, now end
end

if changed then
  redis.call('HSET', meta, 'head', text(head), 'link', link, 'time', text(now), 'sum', text(sum))
end
if settled then
  redis.call('HSET', meta, 'epoch', epoch, 'floor', text(floor), 'old', text(old), 'run', run, 'data', data,
    'turned', text(turned))
end
local first = 0
if count == 0 then
  local entry = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  first = entry and position(entry) or head + 1
end
return {epoch, head, link, first, places}
"""

_LOOK: Final = """
local m = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'link')
local from, count, most, found = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), {}
while count > 0 and most > 0 do
  local entries = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', math.min(count, 16))
  for _, entry in ipairs(entries) do
    for _, part in ipairs(entry[2]) do most = most - #part end
    found[#found + 1] = entry
    from = '(' .. entry[1]
  end
  count = count - 16
  if #entries < 16 then break end
end
return {m[1] or '', tonumber(m[2] or 0), m[3] or '', found}
"""


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the name that Redis knows it by once it has seen it."""

    text: str
    digest: str

    def command(self, keys: Sequence[str], *, whole: bool = False) -> tuple[str | int, ...]:
        """Return the beginning of the command that runs it; `whole` where Redis does not know it."""
        return ("EVAL" if whole else "EVALSHA", self.text if whole else self.digest, len(keys), *keys)


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


APPEND: Final = _script(_APPEND)
LOOK: Final = _script(_LOOK)


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest entry that is known of a life: its position, and the link that the next one must have."""

    epoch: str
    position: int
    link: str


class Terms:
    """What every call says besides its messages: the keys, and what is to be kept."""

    def __init__(self, place: Place, retention: Retention) -> None:
        self.keys = tuple(place.key(what) for what in ("meta", "log", "seen", "before"))
        self._kept = (int(retention.age * 1000), retention.bytes)

    def append(self, link: Link, known: Seen | None, *, joins: bool = False) -> tuple[str | int, ...]:
        """Return the arguments of APPEND, but for the messages: their count, and record and key of each.

        Only the first call on a connection may take the data of another process for the same life: on a
        connection that goes on, it was exchanged meanwhile.
        """
        epoch, position, last = ("", 0, "") if known is None else (known.epoch, known.position, known.link)
        return (
            *(link.run, int(link.trusted and joins), secrets.token_hex(5), secrets.randbits(63)),
            *(epoch, position, last, *self._kept),
            *(int(limits.IDEMPOTENCY_AGE * 1000), limits.IDEMPOTENCY_KEYS),
        )


def key_field(channel: str, key: str) -> bytes:
    """Return the name of an idempotency key. The length goes first: joined texts could collide."""
    return hashlib.blake2b(f"{len(channel)}:{channel}{key}".encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Answer:
    """What APPEND answers. `first` is the first position that is kept, where nothing was appended.

    `places` has the position of each message, below 0 where it is that of an earlier one.
    """

    seen: Seen
    first: int
    places: list[int]


def read_answer(answer: Any) -> Answer:
    """Return what APPEND answered. Raises ValueError when it is something else."""
    match answer:
        case [bytes() as epoch, int() as head, bytes() as link, int() as first, list() as places]:
            return Answer(Seen(_life(epoch), head, link.decode()), first, places)
    raise ValueError("the script's answer is malformed")


def _life(epoch: bytes) -> str:
    text = epoch.decode()
    if not (0 < len(text) <= 32 and text.isascii() and text.isalnum() and text == text.lower()):
        raise ValueError("the life's name is malformed")
    return text
