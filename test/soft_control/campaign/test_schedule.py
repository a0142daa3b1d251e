"""Rows on workers: the same table whoever computes it, and whoever is killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from soft_control.campaign import schedule
from soft_control.campaign.runs import carry_out
from soft_control.campaign.schedule import Stands, compute, connected
from soft_control.campaign.store import Store
from soft_control.experiment.outcome import RunFailed
from soft_control.processes import die_with_parent

PROJECT = Path(__file__).resolve().parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(PROJECT)}
LOOPBACK = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]


def start(module: str, *arguments: object, cwd: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env=ENVIRONMENT | {"TMPDIR": str(cwd)},  # who is killed leaves what he has there
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent(),
    )


def wait_for(there: Callable[[], bool], process: subprocess.Popen, for_s: float = 60.0) -> None:
    deadline = time.monotonic() + for_s
    while not there():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def cluster(tmp_path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Address of a scheduler, and two workers of it, each a process of its own; the second has two
    threads, which must not disturb each other."""
    file = tmp_path / "scheduler.json"
    head = start(
        "distributed.cli.dask_scheduler", *LOOPBACK, "--port", 0,
        "--scheduler-file", file, cwd=tmp_path,
    )  # fmt: skip
    started = [head]
    try:
        wait_for(file.exists, head)
        address = json.loads(file.read_text())["address"]
        for name, threads in (("first", 1), ("second", 2)):
            started.append(
                start(
                    "distributed.cli.dask_worker", address, *LOOPBACK, "--no-nanny", "--nthreads",
                    threads, "--local-directory", tmp_path / name, cwd=tmp_path,
                )
            )  # fmt: skip
        yield address, started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def here(campaign, stand, tmp_path_factory) -> pa.Table:
    """The table, row after row in this process."""
    store = Store(tmp_path_factory.mktemp("here"))
    plan = campaign.plan
    with store.opened(campaign.identity):
        for row in campaign.rows:
            store.put(carry_out(row, stand, plan.duration_s, plan.trace_hz))
    return store.finish(len(campaign.rows))


def test_two_workers_one_of_them_killed_give_the_same_table(campaign, here, cluster, tmp_path):
    address, workers = cluster
    store = Store(tmp_path / "out")
    counts = []

    def on_row(values: dict, count: int) -> None:
        store.put(values)
        counts.append(count)
        if len(counts) == 5:
            # Both are at work then: rows are waiting, and one is on each of them.
            deadline = time.monotonic() + 60.0
            while len(schedule_workers(address)) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            os.kill(workers[0].pid, signal.SIGKILL)

    with connected(address) as client, store.opened(campaign.identity):
        compute(client, campaign, campaign.rows, on_row)
    assert len(counts) == len(campaign.rows) and counts[-1] == 1
    assert workers[0].wait() == -signal.SIGKILL and workers[1].poll() is None
    table = store.finish(len(campaign.rows))
    assert table.equals(here) and table.num_rows == 24
    # A PID feels no spikes, and the simulated gain acts behind what the light guides feel.
    assert len(set(table["commands_sha256"].to_pylist())) == 24 - 4 - 4


def schedule_workers(address: str) -> dict:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        return client.scheduler_info(n_workers=-1)["workers"]


def test_a_worker_with_other_code_is_refused(campaign, cluster, monkeypatch):
    monkeypatch.setattr(schedule, "code_hash", lambda: "0" * 16)
    refused = pytest.raises(RunFailed, match=r"row \d+ .*: this worker has other code \(\w{16}\)")
    with connected(cluster[0]) as client, refused:
        compute(client, campaign, campaign.rows[:2], lambda values, count: None)


def test_stands_are_unpacked_once_and_cleaned_up(campaign):
    stands = Stands(dict(campaign.kits))
    stands.setup(None)
    stand = stands.stand("tendon")
    assert stands.stand("tendon") is stand and (stand.build_dir / "libfirmware.so").is_file()
    stands.teardown(None)
    assert not stand.build_dir.exists()


def test_a_scheduler_that_is_not_there_is_a_mistake(monkeypatch):
    monkeypatch.setattr(schedule, "ANSWER_S", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense", "tcp://:::", "x\x1b[2J"):
        with pytest.raises(ValueError) as refused, connected(address):
            pytest.fail("it answered")
        line = str(refused.value)
        assert line.startswith("--scheduler ") and line.isprintable() and "dask scheduler" in line


def test_softctl_killed_in_mid_run_goes_on_where_it_was(campaign, here, plan_file, tmp_path):
    plan, out = plan_file(), tmp_path / "out"
    call = ["campaign", plan, "--workers", 1, "--out", out]
    softctl = start("soft_control.cli", *call, cwd=tmp_path)
    rows = out / "rows"
    wait_for(lambda: rows.is_dir() and len(list(rows.glob("*.parquet"))) >= 3, softctl)
    children = _children(softctl.pid)
    softctl.kill()
    assert softctl.wait() == -signal.SIGKILL
    before = {path.name: path.stat().st_mtime_ns for path in rows.glob("*.parquet")}
    assert 3 <= len(before) < len(campaign.rows) and not (out / "table.parquet").exists()
    wait_for_end(children)

    again = start("soft_control.cli", *call, cwd=tmp_path)
    assert again.wait(timeout=120) == 0
    after = {path.name: path.stat().st_mtime_ns for path in rows.glob("*.parquet")}
    assert len(after) == len(campaign.rows)
    kept = [name for name, at in before.items() if after[name] == at]
    assert sorted(kept) == sorted(before)  # none was computed twice
    assert pa.parquet.read_table(out / "table.parquet").equals(here)


def test_ctrl_c_is_one_line_and_ends_the_workers(plan_file, tmp_path):
    """The terminal sends SIGINT to softctl and to its workers alike."""
    softctl = subprocess.Popen(
        [sys.executable, "-m", "soft_control.cli", "campaign", plan_file(), "--out", "out"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: any((tmp_path / "out").glob("rows/*.parquet")), softctl)
        children = _children(softctl.pid)
        os.killpg(softctl.pid, signal.SIGINT)
        _, said = softctl.communicate(timeout=60)
    finally:
        softctl.kill()
    assert softctl.returncode == 130
    assert said == "warning: stopped; the same call goes on with what is in out\n"
    wait_for_end(children)


def wait_for_end(children: list[int], for_s: float = 20.0) -> None:
    """Of a worker, at least, and of the process that looks after what Python's processes share."""
    assert len(children) >= 2
    deadline = time.monotonic() + for_s
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline, "a worker has outlived softctl"
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    """Pids of the processes that a process has started, by any thread, and of theirs."""
    lists = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    own = [int(child) for listed in lists for child in listed]
    return own + [grandchild for child in own for grandchild in _children(child)]
