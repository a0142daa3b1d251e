"""The folder of a campaign: rows whole or not there, one writer, one plan."""

from __future__ import annotations

import pytest

from soft_control.campaign.store import SCHEMA, Store, difference

IDENTITY = {"plan": {"seeds": [0, 1], "references": ("fixed",)}, "code": "abc"}


def row(number: int) -> dict:
    return {"number": number, "rig": "tendon", "seed": 1, "rmse": 0.1 * number, "t_s": [0.0, 0.5]}


def test_rows_come_back_in_their_order_whatever_the_order_they_came_in(tmp_path):
    store = Store(tmp_path / "new" / "campaign")
    assert store.done() == set()
    with store.opened(IDENTITY):
        for number in (2, 0, 1):
            store.put(row(number))
    assert store.done() == {0, 1, 2}
    table = store.finish(3)
    assert table.schema == SCHEMA and table["number"].to_pylist() == [0, 1, 2]
    assert table["rmse"].to_pylist() == [0.0, 0.1, 0.2]
    assert table["fault"].to_pylist() == [None] * 3
    again = Store(tmp_path / "other")
    with again.opened(IDENTITY):
        for number in (0, 1, 2):
            again.put(row(number))
    assert again.finish(3).equals(table)
    files = [store.folder / "table.parquet", again.folder / "table.parquet"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_row_that_was_cut_short_is_not_there(tmp_path):
    store = Store(tmp_path)
    with store.opened(IDENTITY):
        store.put(row(0))
        store.put(row(1))
        whole = (tmp_path / "rows" / "000001.parquet").read_bytes()
        (tmp_path / "rows" / "000001.parquet").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "rows" / "000002.parquet.new").write_bytes(whole)
        (tmp_path / "rows" / "notes.parquet").write_text("x")
    assert store.done() == {0}


def test_another_plan_is_refused_with_what_has_changed(tmp_path):
    store = Store(tmp_path)
    with store.opened(IDENTITY):
        store.put(row(0))
    with store.opened(IDENTITY):  # the same, from memory and from the file
        pass
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    changed = {"plan": {"seeds": [0, 1, 2], "references": ("fixed",)}, "code": "abc"}
    with pytest.raises(ValueError) as refused, store.opened(changed):
        pytest.fail("it was let in")
    assert "plan.seeds was [0, 1] and is [0, 1, 2]; take the change back" in str(refused.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_two_at_once_are_refused(tmp_path):
    with Store(tmp_path).opened(IDENTITY):
        with pytest.raises(ValueError, match="another softctl is at work"):
            with Store(tmp_path).opened(IDENTITY):
                pytest.fail("it was let in")
    with Store(tmp_path).opened(IDENTITY):
        pass


@pytest.mark.parametrize("content", ["", "[]", "nothing", "{" * 100_000])
def test_a_folder_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(ValueError, match=r"plan\.json: no plan of a campaign"):
        Store(tmp_path).check(IDENTITY)
    (tmp_path / "plan.json").rename(tmp_path / "thesis.txt")
    with pytest.raises(ValueError, match=r"thesis\.txt and no campaign"):
        Store(tmp_path).check(IDENTITY)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (IDENTITY, ""),
        ({**IDENTITY, "code": "abd"}, 'code was "abc" and is "abd"'),
        ({"plan": IDENTITY["plan"]}, "code is gone"),
        ({**IDENTITY, "a\x1b": 1}, "a\\x1b is new"),
        (
            {**IDENTITY, "plan": {"seeds": [0], "references": []}},
            "plan.seeds was [0, 1] and is [0]",
        ),
    ],
)
def test_the_first_difference_is_said(asked, said):
    assert difference(IDENTITY, asked) == said
