"""Faults of a local Ray cluster: the actor that holds an engine is killed, and the node that it is on. The engine is the light one."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, override

import psutil

from bench.lib.fault_engines import WINDOW_S
from bench.lib.fault_findings import Found, judge, orphans
from storage.upgrade import open_storage
from tests.tuner.launchers.light_engine import light_python
from tests.tuner.workbench import config_of
from tuner.core.contract import EngineSettings
from tuner.launchers.ray_actor import local_launcher
from tuner.launchers.ray_cluster import RayPlace
from tuner.launchers.ray_launcher import RayLauncher, RaySession
from tuner.search.plan import plan_search
from tuner.search.study import StudyRun
from tuner.setup.study_setup import prepare_study

CHIPS = {"TPU": 4.0}
NODES = 2  # with chips, beside the head
STUDY_S = 3.0  # about as long as one takes
MOST_TRIES = 3  # studies for a fault: some are over before it comes


class SeenLauncher(RayLauncher):
    """Remembers its last engine."""

    last: RaySession | None = None

    @override
    def open(self, settings: EngineSettings, timeout_s: float) -> RaySession:
        self.last = super().open(settings, timeout_s)
        return self.last


class RayCampaign:
    """One SQLite database in `folder`; one study for each fault, actors and nodes in turn. Of the main thread: Ray starts nodes in no
    other."""

    def __init__(self, folder: Path, seed: int) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        self._folder = folder
        self._url = f"sqlite:///{folder}/ray.db"
        self._random = random.Random(seed)  # no secret: when can be repeated
        self._storage = open_storage(self._url)
        with _own_sigterm():
            self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        self._nodes: list[Any] = [self._add_node() for _ in range(NODES)]
        self.found = Found()

    def run(self, faults: int) -> Found:
        import ray

        try:
            for _ in range(MOST_TRIES * faults):
                if (number := self.found.faults.total()) < faults:
                    self._hit("SIGKILL of a Ray actor" if number % 2 == 0 else "a Ray node lost")
        finally:
            ray.shutdown()
            self._cluster.shutdown()
        judge(self.found, self._storage)
        self._storage.close()
        return self.found

    def _add_node(self) -> Any:
        with _own_sigterm():
            return self._cluster.add_node(num_cpus=1, resources=CHIPS)

    def _hit(self, name: str) -> None:
        self.found.studies += 1
        study = f"r{self.found.studies}"
        actor = partial(local_launcher, python=light_python(self._folder), platform="cpu")
        env = {"env_vars": {"LIGHT_WINDOW_S": str(WINDOW_S)}}  # not of this process, whose environment other parts change meanwhile
        launcher = SeenLauncher(RayPlace(self._cluster.address, CHIPS, env), log_dir=self._folder / study, make=actor)
        seen: list[psutil.Process] = []

        def inject() -> None:
            while launcher.last is None:
                time.sleep(0.01)
            time.sleep(self._random.uniform(0.0, STUDY_S))
            node = launcher.last.engine.node
            try:
                process = psutil.Process(node.pid)
                seen.extend([process, *process.children(recursive=True)])
            except psutil.NoSuchProcess:
                return  # the study was over before: another one gets this fault
            if name == "a Ray node lost":
                lost = next(item for item in self._nodes if item.node_id == node.node_id)
                self._nodes.remove(lost)
                self._cluster.remove_node(lost, allow_graceful=False)
            else:
                process.send_signal(signal.SIGKILL)
            self.found.faults[name] += 1

        injector = threading.Thread(target=inject)
        injector.start()
        config = config_of(study, logdir=str(self._folder / "profiles"), storage=self._url, guard=False, seed=self.found.studies)
        StudyRun(plan_search(prepare_study(config), self._storage, resume=False), self._storage, launcher).run()
        injector.join()
        self._nodes += [self._add_node() for _ in range(NODES - len(self._nodes))]
        self.found.orphans += orphans(lambda: [item for item in seen if item.is_running() and item.status() != psutil.STATUS_ZOMBIE])


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray's nodes take it for themselves."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
