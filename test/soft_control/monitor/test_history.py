"""The ring of rows: what a row keeps, what begins anew, and that nothing grows."""

from __future__ import annotations

import tracemalloc

import numpy as np

from soft_control.monitor.history import COLUMNS_MAX, OPEN_MAX, ROW_NS, Column, History

MS = 1_000_000
START = 5_000_000_000
A, B, WORST = Column("outputs", "a"), Column("outputs", "b"), Column("error", "tip", largest=True)


def put(history: History, stamp_ns: int, stream: str, values: dict[str, float]) -> None:
    """In real time: it comes when it was stamped."""
    history.put(stamp_ns, stream, values, stamp_ns / 1e9)


def begun(rows_max: int = 100) -> History:
    history = History(rows_max)
    history.restart(START)
    history.require([A, B, WORST])
    return history


def test_of_the_samples_in_a_row_the_last_stays_and_of_errors_the_largest():
    history = begun()
    for ms, value, error in ((0, 1.0, 0.1), (8, 2.0, 0.9), (16, 3.0, 0.2), (110, 4.0, 0.3)):
        put(history, START + ms * MS, "outputs", {"a": value})
        put(history, START + ms * MS, "error", {"tip": error})
    assert history.end == 1  # the last one is two rows on and 0.1 s, and itself still open
    numbers, values = history.rows(0, 1)
    assert numbers.tolist() == [0]
    np.testing.assert_array_equal(values, np.array([[3.0, np.nan, 0.9]], dtype=np.float32))
    history.flush()
    numbers, values = history.rows(0, history.end)
    assert numbers.tolist() == [0, 2]
    assert values[1, 0] == 4.0 and values[1, 2] == np.float32(0.3)


def test_a_topic_that_trails_by_a_row_still_finds_it_and_one_that_trails_more_does_not():
    history = begun()
    put(history, START, "outputs", {"a": 1.0})
    put(history, START + ROW_NS, "outputs", {"a": 2.0})
    put(history, START, "outputs", {"b": 10.0})
    put(history, START + 2 * ROW_NS, "outputs", {"a": 3.0})
    put(history, START + 3 * ROW_NS, "outputs", {"a": 4.0})
    put(history, START, "outputs", {"b": 99.0})
    history.flush()
    _, values = history.rows(0, history.end)
    np.testing.assert_array_equal(
        values[:, :2], [[1.0, 10.0], [2.0, np.nan], [3.0, np.nan], [4.0, np.nan]]
    )


def test_a_new_column_keeps_what_was_there_and_says_so():
    history = begun()
    put(history, START, "outputs", {"a": 1.0})
    put(history, START + ROW_NS, "outputs", {"a": 2.0})
    before = history.generation
    history.require([A, Column("signals", "felt")])
    assert history.generation == before + 1
    put(history, START + ROW_NS, "signals", {"felt": 7.0})
    history.flush()
    _, values = history.rows(0, 2)
    assert values[:, 0].tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(values[:, 3], [np.nan, 7.0])
    history.require([A, B])
    assert history.generation == before + 1


def test_what_begins_anew_is_seen_by_its_stamps():
    history = begun()
    put(history, START + 10_000 * MS, "outputs", {"a": 1.0})
    assert history.follows(START + 9_900 * MS)
    assert history.follows(START + 15_000 * MS)
    assert not history.follows(START)
    assert not history.follows(START + 1_000_000 * MS)
    before = history.generation
    history.restart(START)
    assert (history.end, history.columns) == (0, []) and history.generation > before


def test_the_ring_keeps_the_newest_rows():
    history = begun(rows_max=10)
    for k in range(35):
        put(history, START + k * ROW_NS, "outputs", {"a": float(k)})
    assert (history.first, history.end) == (22, 32)
    numbers, values = history.rows(history.first, history.end)
    assert numbers.tolist() == values[:, 0].tolist() == list(range(22, 32))


def test_columns_are_bounded():
    history = begun()
    history.require(Column("signals", f"s{i}") for i in range(COLUMNS_MAX))
    assert len(history.columns) == COLUMNS_MAX
    assert history.left_out == 3


def test_an_hour_and_more_does_not_grow():
    """130,000 rows are 87 minutes; after the ring is full nothing more is kept."""
    history = begun(rows_max=1_000)

    def pass_rows(begin: int, end: int) -> None:
        for k in range(begin, end):
            put(history, START + k * ROW_NS, "outputs", {"a": 0.5, "b": 1.5})

    pass_rows(0, 2_000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        pass_rows(2_000, 130_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    assert history.end - history.first == 1_000


def test_a_run_faster_than_time_waits_for_its_late_topics_and_not_for_ever():
    """Lockstep at a hundred times: a topic that trails by 50 ms here is 125 rows behind there."""
    history = begun()
    for k in range(200):
        history.put(START + k * ROW_NS, "outputs", {"a": float(k)}, now_s=k * 0.0004)
    assert history.end == 0
    history.put(START + 5 * ROW_NS, "outputs", {"b": 5.0}, now_s=0.09)
    for k in range(200, 600):
        history.put(START + k * ROW_NS, "outputs", {"a": float(k)}, now_s=k * 0.0004)
    assert 300 < history.end < 400
    history = begun(rows_max=10_000)
    for k in range(5_000):
        history.put(START + k * ROW_NS, "outputs", {"a": float(k)}, now_s=0.0)
    assert 5_000 - history.end <= OPEN_MAX
