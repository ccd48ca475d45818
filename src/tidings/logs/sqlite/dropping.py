"""One step of dropping what is too many, too old or too much.

Owns: which messages go in one step, and that their marks go with them, in one transaction.
Invariant: a step is bounded in messages and in bytes, so that whoever appends waits for a few ms at most.
"""

from tidings.core import limits
from tidings.logs.sqlite.file import File
from tidings.logs.sqlite.kept import Kept, weight


def drop(file: File, kept: Kept, now_ms: int, appended: int, data_bytes: int, ceiling: int) -> int:
    """Drop some messages up to position `ceiling`, within a transaction; return the highest, or 0.

    At least twice what was appended with it, so that what is kept shrinks under any load.
    """
    budget = 2 * appended + limits.LOG_DROP_STEP
    room = 2 * data_bytes + limits.LOG_CHECKPOINT_BYTES
    gone: list[tuple[str, int]] = sorted(kept.too_many(budget, ceiling), key=lambda item: item[1])
    sizes = file.lengths([position for _, position in gone]) if gone else []
    if not gone:
        left = kept.weight
        for position, channel, time_ms, size in file.oldest(budget, ceiling):
            if not kept.is_out(time_ms, now_ms, left):
                break
            left -= weight(1, size)
            gone.append((channel, position))
            sizes.append(size)
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and total > room:
            total -= size
            del gone[count:]
            break
    if not gone:
        return 0
    file.drop([position for _, position in gone])
    marks, forgotten = kept.drop(gone, weight(len(gone), total))
    file.mark(marks)
    file.forget(kept.head, kept.forgotten_through, forgotten)
    kept.oldest_ms = file.oldest_ms()
    return gone[-1][1]
