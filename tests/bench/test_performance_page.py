"""bench/page.py: what was measured stands on the page, each table at its mark and nowhere else."""

import page
import pytest
from harness.results import Results, Run
from harness.rows import Row

RUN = Run("2026-11-28T00:00:00+00:00", "python bench/run.py storm", {}, {}, {}, {})
STORM = ("storm", "10,000 clients, 100 messages of 100 B missed", "websocket")


def results(*rows: tuple[str, int, float]) -> Results:
    """Return the storm's rows: server, round, seconds until all have caught up; below 0 it is unable."""
    found = Results()
    found.begin(STORM, RUN)
    found.rows[STORM] = [
        Row(*STORM, server, number, 1.0, {"caught_last": seconds}, unable="" if seconds > 0 else "too slow")
        for server, number, seconds in rows
    ]
    return found


def test_every_table_that_is_known_has_its_place_on_the_page() -> None:
    text = page.PAGE.read_text()
    assert {name: text.count(f"<!-- table: {name} -->\n|") for name in page.NAMES} == dict.fromkeys(
        page.NAMES, 1
    )


def test_a_table_has_medians_and_ranges_and_says_who_was_unable() -> None:
    made = dict(page.markdown(results(("Tidings", 1, 1.0), ("Tidings", 2, 1.5), ("ws", 1, -1.0))))
    assert made["storm"].splitlines() == [
        "| server | WebSocket | SSE |",
        "|---|---:|---:|",
        "| Tidings | 1.25 (1.00 to 1.50) |  |",
        "| ws | n/a |  |",
    ]


def test_only_what_was_measured_is_replaced() -> None:
    before = "# A\n\n<!-- table: storm -->\n| old |\n|---|\n| 1 |\n\n<!-- table: idle -->\n| kept |\n\nend\n"
    after = page.filled(before, {"storm": "| new |\n"})
    assert after == "# A\n\n<!-- table: storm -->\n| new |\n\n<!-- table: idle -->\n| kept |\n\nend\n"


@pytest.mark.parametrize("text", ["no mark\n", "<!-- table: storm -->\n\n<!-- table: storm -->\n"])
def test_a_table_without_its_one_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="storm"):
        page.filled(text, {"storm": "| new |\n"})
