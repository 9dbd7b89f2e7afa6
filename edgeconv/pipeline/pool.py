"""The worker processes of one run: stages that share imports share a process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgeconv.stage import Stage
from edgeconv.worker import Limits, Worker


class Pool:
    """Workers by name, started when first asked for. Use as a context manager.

    Args:
        limits: what one job may use.
        folder: scratch; what libraries leave in their temporary folder goes with it, even if a worker is killed.
    """

    def __init__(self, limits: Limits, folder: Path) -> None:
        self.limits = limits
        self._folder = folder / "tmp"
        self._workers: dict[str, Worker] = {}
        self._leaving: list[Worker] = []
        self._preload: dict[str, tuple[str, ...]] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as stack:
            for worker in [*self._workers.values(), *self._leaving]:
                stack.callback(worker.close)
        self._workers.clear()
        self._leaving.clear()

    def prepare(self, stages: Iterable[Stage]) -> None:
        """Start the workers of stages that will run, so that their imports overlap with the steps before."""
        for stage in stages:
            preload = dict.fromkeys([*self._preload.get(stage.worker, ()), *stage.preload])
            self._preload[stage.worker] = tuple(preload)
        for name in dict.fromkeys(stage.worker for stage in stages):
            self.get(name).start()

    def get(self, name: str) -> Worker:
        """The worker of that name; not started yet if nobody used it."""
        if name not in self._workers:
            self._workers[name] = self.fresh(self._preload.get(name, ()))
        return self._workers[name]

    def fresh(self, preload: Iterable[str] = (), environment: Mapping[str, str] | None = None) -> Worker:
        """A worker for one job alone, which its user closes.

        Args:
            preload: modules to import at start.
            environment: its whole environment; None: this process's.
        """
        self._folder.mkdir(exist_ok=True)
        variables = {**(environment or {}), "TMPDIR": str(self._folder)}
        return Worker(tuple(preload), self.limits, variables, inherit=environment is None)

    def release(self, name: str) -> None:
        """Dismiss a worker whose work is done, so that its memory is free for the next; asked for again, there is a new one."""
        worker = self._workers.pop(name, None)
        if worker is not None:
            worker.dismiss()
            self._leaving.append(worker)
