"""The Ray launcher on a real cluster of three nodes on this machine, two of which claim to be the hosts of a TPU slice: the launcher
contract through the actor, where engines land, and what is left when an actor, a node or the driver is killed. One cluster for the file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from storage.queue_records import SubmissionState
from storage.upgrade import open_storage
from tests.conformance.launcher_contract import LauncherContract
from tests.plugins.engine import RUN_TIMEOUT_S, START_TIMEOUT_S, Reference
from tests.plugins.lending import Lending
from tests.plugins.small_ray import small_cluster
from tests.tuner.cli.terminal import start_process
from tests.tuner.launchers.light_engine import light_python
from tests.tuner.launchers.tables import LIVE, PLAN, SETTINGS, write_table
from tests.tuner.workbench import config_of
from tests.waiting import wait_until
from tuner.cli.fleet_check import check_ray
from tuner.core.contract import EngineSettings, Launcher, LiveSettings, LoadPlan, ProfileTarget
from tuner.core.errors import BadInput, EngineLost, FailureClass, TrialFailed
from tuner.engine.environment import engine_environment
from tuner.engine.on_slice import slice_environment
from tuner.fleet.on_ray import OnRay
from tuner.fleet.submission import submission_of
from tuner.launchers.ray_actor import local_launcher
from tuner.launchers.ray_cluster import RayPlace, check_cluster, connect
from tuner.launchers.ray_launcher import RayLauncher, RaySession
from tuner.launchers.ray_slices import SliceGroup
from tuner.launchers.table import TableLauncher
from tuner.serving.engine_args import engine_args

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
CHIPS = {"TPU": 4.0}
ORPHANS_S = 10.0  # the longest that a process may outlive what it belongs to


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with small_cluster(tmp_path_factory.mktemp("small-ray"), cpus=1) as started:
        for worker in range(2):
            labels = {"ray.io/tpu-slice-name": "slice-a", "ray.io/tpu-worker-id": str(worker), "ray.io/tpu-topology": "2x4"}
            started.add_node(num_cpus=1, resources=CHIPS | ({"TPU-v6e-8-head": 1.0} if worker == 0 else {}), labels=labels)
        yield started
        import ray

        ray.shutdown()


@pytest.fixture(scope="module")
def place(cluster: Any) -> RayPlace:
    return RayPlace(cluster.address, CHIPS)


def table_launcher(log_dir: Path, *, table: Path) -> Launcher:
    assert log_dir.is_absolute()
    return TableLauncher(table)


@pytest.fixture(scope="module")
def on_a_table(place: RayPlace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayLauncher]:
    folder = tmp_path_factory.mktemp("ray")
    launcher = RayLauncher(place, log_dir=folder, make=partial(table_launcher, table=write_table(folder)))
    yield launcher
    launcher.close()


class TestRay(LauncherContract):
    """What an actor holds is a table here: the contract is about what comes through it."""

    @pytest.fixture
    def launcher(self, on_a_table: RayLauncher) -> RayLauncher:
        return on_a_table

    @pytest.fixture
    def settings(self) -> EngineSettings:
        return SETTINGS

    @pytest.fixture
    def impossible_settings(self) -> EngineSettings:
        return replace(SETTINGS, block_size=128)

    @pytest.fixture
    def live(self) -> tuple[LiveSettings, LiveSettings]:
        return LIVE

    @pytest.fixture
    def plan(self) -> LoadPlan:
        return PLAN

    def test_two_engines_land_on_two_nodes_and_a_third_finds_none_free(self, launcher: RayLauncher) -> None:
        sessions = [launcher.open(SETTINGS, 120) for _ in range(2)]
        assert len({session.report.details["ray_node"] for session in sessions}) == 2
        with pytest.raises(TrialFailed, match=r"no Ray node had TPU 4 free within 1 s") as caught:
            launcher.open(SETTINGS, 1)
        assert caught.value.failure is FailureClass.TIMEOUT
        for session in sessions:
            session.close()
        launcher.close()


@pytest.fixture
def light(place: RayPlace, tmp_path: Path) -> Iterator[Callable[..., RayLauncher]]:
    """A launcher whose engines are light ones; the real host on the node."""
    made: list[RayLauncher] = []

    def make(resources: dict[str, float] | None = CHIPS) -> RayLauncher:
        actor = partial(local_launcher, python=light_python(tmp_path), platform="cpu")
        made.append(RayLauncher(replace(place, resources=resources), log_dir=tmp_path / "logs", make=actor))
        return made[-1]

    yield make
    for launcher in made:
        launcher.close()


def tree(session: RaySession) -> list[psutil.Process]:
    """The actor's process, the engine's host and the engine."""
    actor = psutil.Process(session.engine.node.pid)
    found = [actor, *actor.children(recursive=True)]
    assert len(found) >= 3
    return found


def none_left(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def fails_in_a_window(session: RaySession, kill: Callable[[], object]) -> EngineLost:
    threading.Timer(2.5, kill).start()
    with pytest.raises(EngineLost) as caught:
        session.measure(LIVE[0], PLAN, 60)
    assert caught.value.failure is FailureClass.ENGINE_CRASH
    assert "\n" not in str(caught.value)
    with pytest.raises(EngineLost):
        session.measure(LIVE[0], PLAN, 60)
    session.close()
    return caught.value


def test_a_killed_actor_is_a_lost_engine_and_the_next_one_starts(
    light: Callable[..., RayLauncher], capfd: pytest.CaptureFixture[str]
) -> None:
    launcher = light()
    session = launcher.open(SETTINGS, 120)
    processes = tree(session)
    lost = fails_in_a_window(session, lambda: os.kill(session.engine.node.pid, signal.SIGKILL))
    assert "was ended while measure" in str(lost)
    assert "light engine: measure" in lost.log_excerpt, "its log came here while it ran"
    wait_until(lambda: none_left(processes), "host and engine end with the actor", patience_s=ORPHANS_S)
    assert capfd.readouterr().out == "", "Ray's news would stand in an answer as JSON"
    session.engine._fetch_logs(wait_s=20)  # raised Ray's own error: a window was lost whose answer had come before the actor was killed
    again = launcher.open(SETTINGS, 120)
    processes = tree(again)
    again.close()
    launcher.close()
    wait_until(lambda: none_left(processes), "closing leaves nothing", patience_s=ORPHANS_S)


def test_a_killed_node_is_named_and_its_processes_end(cluster: Any, light: Callable[..., RayLauncher]) -> None:
    node = cluster.add_node(num_cpus=1, resources={"spare": 1})
    launcher = light({"spare": 1.0})
    session = launcher.open(SETTINGS, 120)
    processes = tree(session)
    lost = fails_in_a_window(session, lambda: cluster.remove_node(node, allow_graceful=False))
    assert "the Ray node" in str(lost) and "was lost" in str(lost)
    wait_until(lambda: none_left(processes), "actor, host and engine end with the node", patience_s=ORPHANS_S)
    with pytest.raises(TrialFailed, match=r"no Ray node has spare 1: .* has .*TPU 4") as caught:
        launcher.open(SETTINGS, 120)
    assert caught.value.failure is FailureClass.STARTUP


@pytest.mark.parametrize("devices", [1, 8])
def test_a_killed_driver_leaves_no_engine_and_had_its_runtime_env(cluster: Any, place: RayPlace, tmp_path: Path, devices: int) -> None:
    """Of 8 devices: on a slice."""
    program = textwrap.dedent(f"""
        import time
        from dataclasses import replace
        from functools import partial
        from pathlib import Path
        from tests.tuner.launchers.tables import SETTINGS
        from tuner.launchers.ray_actor import local_launcher
        from tuner.launchers.ray_cluster import RayPlace
        from tuner.launchers.ray_launcher import RayLauncher
        actor = partial(local_launcher, python={light_python(tmp_path)!r}, platform="cpu")
        place = RayPlace({cluster.address!r}, None, {{"env_vars": {{"OF_THE_RUNTIME_ENV": "1"}}}})
        launcher = RayLauncher(place, log_dir=Path({str(tmp_path)!r}), make=actor)
        print(launcher.open(replace(SETTINGS, tensor_parallel_size={devices}), 120).engine.node.pid, flush=True)
        time.sleep(600)
    """)
    connect(place)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        actor = psutil.Process(int(driver.stdout.readline()))
        processes = [actor, *actor.children(recursive=True)]
        environment = processes[1].environ()  # the host's
        assert len(groups()) == (devices == 8)
        driver.kill()
    assert environment["OF_THE_RUNTIME_ENV"] == "1"
    assert environment.get("OMP_NUM_THREADS") == os.environ.get("OMP_NUM_THREADS"), "Ray's limit of threads is not the engine's"
    assert len(processes) >= 3
    wait_until(lambda: none_left(processes) and not groups(), "all of it ends with the driver", patience_s=ORPHANS_S)


def groups() -> list[Any]:
    """The placement groups that are there."""
    from ray.util import placement_group_table

    return [group for group in placement_group_table().values() if group["state"] != "REMOVED"]


def test_an_engine_beyond_one_host_has_the_slice_until_it_ends(light: Callable[..., RayLauncher]) -> None:
    launcher, wide = light(None), replace(SETTINGS, tensor_parallel_size=8)
    session = launcher.open(wide, 120)
    (group,) = groups()
    assert (group["state"], group["strategy"]) == ("CREATED", "STRICT_SPREAD")
    assert group["bundles"] == {0: {"TPU": 4.0, "TPU-v6e-8-head": 1.0}, 1: {"TPU": 4.0}}
    processes = tree(session)
    assert processes[-1].environ()["TUNER_RAY_GROUP"] == group["name"]
    assert processes[-1].environ()["TPU_MULTIHOST_BACKEND"] == "ray"
    assert session.profile_phases == ()
    with pytest.raises(TrialFailed, match=r"no slice of 8 devices was free within 1 s: slice slice-a: .* has TPU 0 of 4 free, ") as caught:
        light(None).open(wide, 1)
    assert caught.value.failure is FailureClass.TIMEOUT
    processes[-1].kill()
    with pytest.raises(EngineLost):
        session.measure(LIVE[0], PLAN, 60)
    session.close()
    assert not groups()
    wait_until(lambda: none_left(processes), "nothing is left", patience_s=ORPHANS_S)
    with pytest.raises(TrialFailed, match=r"no slice of 6 devices is there: slice slice-a has 2 hosts of a 2x4, 8 devices"):
        launcher.open(replace(SETTINGS, tensor_parallel_size=6), 60)


def test_a_worker_measures_on_a_free_node_and_leaves_nothing_at_sigterm(
    place: RayPlace, light: Callable[..., RayLauncher], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/fleet.db"
    (tmp_path / "env.yaml").write_text("env_vars: {LIGHT_WINDOW_S: '0.2'}\n")
    storage = open_storage(url)
    storage.submit(submission_of(config_of(guard=False, launcher="local"), "anna"))
    other = light().open(SETTINGS, 120)
    there = OnRay(replace(place, resources=None), "tpu")
    assert there.room()({"chips": 4})
    where = [
        "--ray",
        str(place.address),
        "--accelerator",
        "cpu",
        "--ray-resources",
        "TPU=4",
        "--ray-runtime-env",
        str(tmp_path / "env.yaml"),
    ]
    own = ["--accelerator", "cpu", "--engine-python", light_python(tmp_path), "--storage", url, "--logdir", str(tmp_path / "profiles")]
    worker = start_process(["worker", *where, *own], os.environ)
    try:
        wait_until(lambda: any(storage.list_measurements(study_id=item.id) for item in storage.list_studies()), "a window", patience_s=60)
        assert not there.room()({}), "both nodes are taken"
        worker.send_signal(signal.SIGTERM)
        said = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert worker.returncode == 0, said
    assert storage.get_submission(1).state is SubmissionState.QUEUED
    assert storage.get_study("s").config["launcher"] == "ray"
    wait_until(lambda: there.room()({"chips": 4}), "the worker's actor has ended", patience_s=ORPHANS_S)
    other.close()
    storage.close()


def test_resources_that_no_node_has_are_refused_with_what_there_is(place: RayPlace) -> None:
    with pytest.raises(BadInput, match=r"^ray_resources: no Ray node has TPU 8: .* has .*TPU 4.*; start such a node"):
        check_cluster(place, {"TPU": 8.0})


def test_the_doctor_says_what_each_node_has(place: RayPlace) -> None:
    check = check_ray(str(place.address))
    assert check.ok
    assert check.found.count("has TPU 4, CPU 1") == 2


def test_another_version_of_ray_is_refused_in_one_line(cluster: Any) -> None:
    program = textwrap.dedent(f"""
        import ray
        ray.__version__ = "1.0.0"
        from tuner.core.errors import BadInput
        from tuner.launchers.ray_cluster import RayPlace, connect
        try:
            connect(RayPlace({cluster.address!r}))
        except BadInput as error:
            print(error)
    """)
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert "Version mismatch" in said.stdout and "1.0.0" in said.stdout, said.stderr
    assert said.stdout.startswith(f"ray_address {cluster.address}: ")
    assert said.stdout.count("\n") == 1


@pytest.mark.engine
def test_a_real_engine_on_a_node_measures_and_its_profile_comes_here(place: RayPlace, reference: Reference, tmp_path: Path) -> None:
    launcher = RayLauncher(place, log_dir=tmp_path / "logs", platform="cpu")
    live = LiveSettings("page_aligned", 128)
    try:
        session = launcher.open(reference.settings(32), START_TIMEOUT_S)
        processes = tree(session)
        session.warm_up(live, reference.plan, RUN_TIMEOUT_S)
        window = session.measure(live, reference.plan, RUN_TIMEOUT_S)
        assert window.compilations == 0
        assert len(window.requests) == len(reference.plan.requests)
        assert window.steps
        assert session.generate(live, reference.plan, RUN_TIMEOUT_S) == reference.tokens
        assert session.generates
        assert len(session.answer(live, reference.plan, RUN_TIMEOUT_S)) == len(reference.plan.requests)
        target = ProfileTarget(tmp_path, "run", "first")
        (profile,) = session.profile(live, reference.plan, target, phase="decode", timeout_s=RUN_TIMEOUT_S)
        assert profile.path.parent == target.folder
        assert profile.path.stat().st_size == profile.size_bytes > 10_000
        assert (tmp_path / "logs" / "ray-001" / "engine-001.log").stat().st_size > 0
    finally:
        launcher.close()
    wait_until(lambda: none_left(processes), "closing leaves nothing", patience_s=ORPHANS_S)


@pytest.mark.engine
def test_tpu_inferences_workers_start_inside_the_slice(
    cluster: Any, place: RayPlace, reference: Reference, engine_host: Lending, tmp_path: Path
) -> None:
    """As far as that goes without a TPU: to where each host's worker has to open its chips. A free node with TPU stays free."""
    connect(place)
    from ray._private.state import actors

    node = cluster.add_node(num_cpus=1, resources={"TPU": 1.0})
    arguments = engine_args(replace(reference.settings(32), tensor_parallel_size=2, attention_backend="rpa"), "tpu")  # of 4 heads
    group = SliceGroup(8, 60)
    host = engine_host(None, engine_environment("cpu", offline=True), tmp_path)
    try:
        with pytest.raises(TrialFailed) as caught:
            host.start_engine(arguments, slice_environment(group.name, str(cluster.address)), START_TIMEOUT_S)
        workers = [actor["Address"]["NodeID"] for actor in actors().values() if actor["ActorClassName"] == "RayWorkerProc"]
    finally:
        host.close()
        group.remove()
        cluster.remove_node(node)
    assert "coords" in str(caught.value) + caught.value.log_excerpt, "a CPU device has none"
    assert sorted(workers) == sorted(item.node_id for item in group.slice.hosts)
