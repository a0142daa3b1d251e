"""Rows on workers: processes of this machine, or those of a dask scheduler.

Each row depends on nothing but the plan, so it does not matter who computes it, in which order, or
how often: a row whose worker dies is given to another one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import dask
from distributed import Client, KilledWorker, LocalCluster, as_completed, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from soft_control.campaign.plan import Campaign
from soft_control.campaign.runs import Row, carry_out
from soft_control.campaign.stands import Kit, Stand, code_hash, unpack
from soft_control.experiment.outcome import RunFailed
from soft_control.plain_text import one_line, printable
from soft_control.processes import interrupt_held

LOOPBACK = "127.0.0.1"
ANSWER_S = 10.0
"""A scheduler that is silent for so long is not there."""
WORKERS_S = 60.0
"""And a worker that has not come by then will not."""

OnRow = Callable[[dict[str, Any], int], None]
"""Gets a row's values, and how many workers there are."""


class Stands(WorkerPlugin):
    """Brings the kits to every worker, to those too that come later."""

    name = "soft_control campaign"
    idempotent = False

    def __init__(self, kits: dict[str, Kit]) -> None:
        self._kits, self._code = kits, code_hash()
        self._stands: dict[str, Stand] = {}

    def setup(self, worker: Any) -> None:
        """Called by dask on the worker."""
        # A worker that is killed leaves its folder to whoever started it.
        place = getattr(worker, "local_directory", None)
        self._folder = tempfile.TemporaryDirectory(prefix="campaign-", dir=place)
        self.one_at_a_time = threading.Lock()
        """Of a worker with several threads: a run is Python, and IPOPT's last answer is one."""

    def teardown(self, worker: Any) -> None:
        """The same at its end."""
        self._folder.cleanup()

    def stand(self, name: str) -> Stand:
        """Unpacked where it is needed first. Raises RuntimeError where the worker is another
        soft_control than the one that packed it."""
        if code_hash() != self._code:
            raise RuntimeError(
                f"this worker has other code ({code_hash()}) than the campaign ({self._code}): "
                "install the same soft_control on all workers"
            )
        if name not in self._stands:
            folder = Path(self._folder.name) / name
            folder.mkdir()
            self._stands[name] = unpack(self._kits[name], folder)
        return self._stands[name]


def on_worker(row: Row, duration_s: float, trace_hz: float) -> dict[str, Any]:
    """What a worker is asked."""
    stands: Any = get_worker().plugins[Stands.name]
    with stands.one_at_a_time:
        return carry_out(row, stands.stand(row.rig), duration_s, trace_hz)


def compute(client: Client, campaign: Campaign, rows: Sequence[Row], on_row: OnRow) -> None:
    """Computes `rows` of the campaign and hands each over as it ends, in whatever order that is.

    Raises RunFailed where a row cannot be computed.
    """
    plan = campaign.plan
    client.register_plugin(Stands(dict(campaign.kits)))
    futures = {
        client.submit(
            on_worker, row, plan.duration_s, plan.trace_hz, pure=False, priority=-row.number
        ): row
        for row in rows
    }
    try:
        for future in as_completed(futures, loop=client.loop):
            values = _result(future, futures[future])
            on_row(values, len(client.scheduler_info(n_workers=-1)["workers"]))
            future.release()
    finally:
        client.cancel(list(futures), force=True)
        with contextlib.suppress(Exception):  # the scheduler may have gone
            client.unregister_worker_plugin(Stands.name)


def _result(future: Any, row: Row) -> dict[str, Any]:
    try:
        return future.result()
    except KilledWorker:
        raise RunFailed(
            f"{row}: every worker that took it has died; what was done until then stays, call "
            "again to go on"
        ) from None
    except Exception as error:  # whatever the row's code raised on the worker
        said = one_line(str(error)) or type(error).__name__
        raise RunFailed(f"{row}: {said}") from error


@contextlib.contextmanager
def connected(scheduler: str = "", workers: int = 0) -> Iterator[Client]:
    """A client of the dask scheduler at an address; by default of one of our own, with as many
    workers, processes of this machine, as `workers`, or else as there are cores to use.

    Raises ValueError for a scheduler that does not answer or has no worker.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # our errors say what matters
    if scheduler:
        with _of_others(scheduler) as client:
            yield client
        return
    with (
        tempfile.TemporaryDirectory(prefix="dask-") as folder,
        dask.config.set({"temporary-directory": folder}),
        _workers_here(workers or len(os.sched_getaffinity(0))) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _workers_here(count: int) -> LocalCluster:
    """A scheduler and its workers. Ctrl-C on the terminal is for us alone: the thread that starts
    the workers holds it back for ever, and so do they, which have it from that thread."""
    resource_tracker.ensure_running()  # or the first worker starts it, and then lets Ctrl-C through
    with interrupt_held():
        return LocalCluster(
            n_workers=count,
            threads_per_worker=1,  # a run is Python: threads would wait for one another
            host=LOOPBACK,
            # Their web servers cannot be left out: any free port, and nobody else's.
            dashboard_address=f"{LOOPBACK}:0",
            worker_dashboard_address=f"{LOOPBACK}:0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )


def _of_others(scheduler: str) -> Client:
    at = f"--scheduler {printable(scheduler)}"
    try:
        client = Client(scheduler, timeout=ANSWER_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        said = one_line(str(error)) or "no answer"
        raise ValueError(
            f"{at}: no dask scheduler answers there ({said}); start one with `dask scheduler`"
        ) from None
    try:
        client.wait_for_workers(1, timeout=WORKERS_S)
    except TimeoutError:
        client.close()
        raise ValueError(
            f"{at}: it has no worker; start some with `dask worker ADDRESS --nthreads 1`"
        ) from None
    return client
