"""The folder of a campaign: each row as it ends, what the rows come from, and the table.

DIR/plan.json              what the rows come from: the plan, hashes of models, firmware, code
DIR/rows/000012.parquet    a row, whole or not there: written beside it, then renamed
DIR/table.parquet          all rows in the plan's order, when the last one is there
DIR/report.md, figures/    what a paper prints of it
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from soft_control.plain_text import printable

PLAN_FILE = "plan.json"
TABLE_FILE = "table.parquet"
ROWS = "rows"
LOCK = ".lock"

SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("rig", pa.string()),
        ("reference", pa.string()),
        ("controller", pa.string()),
        ("disturbance", pa.string()),
        ("seed", pa.int64()),
        ("of", pa.string()),
        ("unit", pa.string()),
        ("samples", pa.int64()),
        ("rmse", pa.float64()),
        ("p95", pa.float64()),
        ("max", pa.float64()),
        ("path_rmse", pa.float64()),
        ("rmse_late", pa.float64()),
        ("found_s", pa.float64()),
        ("doubted_sound", pa.int64()),
        ("iterations", pa.float64()),
        ("fault", pa.string()),
        ("commands_sha256", pa.string()),
        ("t_s", pa.list_(pa.float32())),
        ("outputs", pa.list_(pa.float32())),
        ("reference_outputs", pa.list_(pa.float32())),
    ]
)
"""Columns of the table: runs.carry_out says what they hold. `outputs` and `reference_outputs` are
(T, n) row by row, in units on paper. Nothing in it depends on who computed a row, or when."""


def _private(path: str, flags: int) -> int:
    """Opens a file that only its owner looks into, and follows no link."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


class Store:
    """The rows of one campaign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def opened(self, identity: Mapping[str, Any]) -> Iterator[None]:
        """For whoever writes: makes the folder, and keeps others out until the end.

        Raises ValueError for a folder of a campaign with another `identity`, of something else, or
        that another softctl is writing to; then nothing is written.
        """
        self.check(identity)
        (self.folder / ROWS).mkdir(parents=True, exist_ok=True)
        with open(self.folder / LOCK, "w", opener=_private) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(
                    f"{self.folder}: another softctl is at work on this campaign: wait for it, or "
                    "choose another --out"
                ) from None
            self.check(identity)
            text = json.dumps(identity, indent=2, sort_keys=True) + "\n"
            self._put(self.folder / PLAN_FILE, lambda path: path.write_text(text))
            yield

    def check(self, identity: Mapping[str, Any]) -> None:
        """Raises ValueError for a folder that the rows of `identity` cannot go into."""
        path = self.folder / PLAN_FILE
        if not self.folder.is_dir():
            return
        if not path.is_file():
            foreign = sorted(p.name for p in self.folder.iterdir() if p.name not in (LOCK, ROWS))
            if foreign:
                raise ValueError(
                    f"{self.folder} holds {printable(foreign[0])} and no campaign: choose another "
                    "--out"
                )
            return
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            known = None
        if not isinstance(known, dict):
            raise ValueError(f"{path}: no plan of a campaign: choose another --out")
        # Through JSON, so that tuples are lists on both sides.
        changed = difference(known, json.loads(json.dumps(identity)))
        if changed:
            raise ValueError(
                f"{self.folder} was begun with another plan: {changed}; take the change back, or "
                "choose another --out"
            )

    def done(self) -> set[int]:
        """Numbers of the rows that are there. One that cannot be read is not."""
        found = set()
        for path in (self.folder / ROWS).glob("*.parquet"):
            with contextlib.suppress(ValueError, OSError):
                if pq.read_metadata(path).num_rows == 1:
                    found.add(int(path.stem))
        return found

    def put(self, values: Mapping[str, Any]) -> None:
        """Writes a row."""
        table = pa.Table.from_pylist([dict(values)], schema=SCHEMA)
        path = self.folder / ROWS / f"{values['number']:06d}.parquet"
        self._put(path, lambda beside: pq.write_table(table, beside))

    def finish(self, rows: int) -> pa.Table:
        """Puts `rows` rows together and writes the table of them, which it returns."""
        paths = [self.folder / ROWS / f"{number:06d}.parquet" for number in range(rows)]
        parts = [pq.read_table(path, schema=SCHEMA) for path in paths]
        table = pa.concat_tables(parts).combine_chunks()
        self._put(
            self.folder / TABLE_FILE,
            lambda beside: pq.write_table(table, beside, compression="zstd"),
        )
        return table

    @staticmethod
    def _put(path: Path, write: Any) -> None:
        beside = path.with_name(f"{path.name}.new")
        write(beside)
        os.replace(beside, path)


def difference(known: Any, asked: Any, at: str = "") -> str:
    """The first thing in which `asked` differs from `known`, in words; empty where nothing does."""
    if isinstance(known, dict) and isinstance(asked, dict):
        for key in dict.fromkeys((*known, *asked)):
            place = f"{at}.{key}" if at else key
            if key not in known or key not in asked:
                return f"{printable(place)} is {'new' if key not in known else 'gone'}"
            found = difference(known[key], asked[key], place)
            if found:
                return found
        return ""
    if known == asked:
        return ""
    was, now = (printable(json.dumps(value), 80) for value in (known, asked))
    return f"{printable(at)} was {was} and is {now}"
