"""vLLM's own parameter sweep (`vllm bench sweep serve`) over a sample of our configurations, timed as a whole."""

from __future__ import annotations

import json
import os
import random
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.lib.real_engine import engine_settings, load_plan
from storage.records import Json
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED, LiveSettings
from tuner.engine.environment import engine_environment
from tuner.launchers.bench_client import bench_argv
from tuner.launchers.serve import SERVER_ENVIRONMENT, ServeLauncher
from tuner.serving.vllm_args import served_config, vllm_environment

SWEEP_TIMEOUT_S = 550.0
VLLM = str(Path(sys.executable).with_name("vllm"))


def sample(count: int, pages: Sequence[int], budgets: Sequence[int], seed: int = 0) -> list[tuple[int, LiveSettings]]:
    """`count` configurations of the grid, half of them page-aligned."""
    order = random.Random(seed)
    arms = [ARM_DEFAULT, ARM_PAGE_ALIGNED]
    return [(order.choice(pages), LiveSettings(arms[number % 2], order.choice(budgets))) for number in range(count)]


def sweep_seconds(configurations: Sequence[tuple[int, LiveSettings]], workload: str) -> float:
    """Wall seconds of one sweep over `configurations`, one run each, warmed up with as many requests. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory(prefix="tuner-bench-") as name:
        folder = Path(name)
        page, live = configurations[0]
        settings = engine_settings(page, live.max_num_batched_tokens)
        plan = load_plan(workload, settings)
        launcher = ServeLauncher(log_dir=folder)
        try:
            trace = launcher.commands(settings).bench.trace(plan)
        finally:
            launcher.close()
        parameters = {f"c{number}": _parameters(*item, launcher.platform) for number, item in enumerate(configurations)}
        (folder / "serve.json").write_text(json.dumps(parameters), encoding="utf-8")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        bench = bench_argv(f"http://127.0.0.1:{port}", settings.model_path, trace, plan, folder / "unused", tokenizer_less=True)
        bench = [VLLM, *bench[1 : bench.index("--percentile-metrics")], *bench[bench.index("--result-filename") + 2 :]]
        command = [VLLM, "bench", "sweep", "serve", "--num-runs", "1", "--warmup-num-prompts", str(len(plan.requests))]
        command += ["--serve-cmd", shlex.join([VLLM, "serve", settings.model_path, "--host", "127.0.0.1", "--port", str(port)])]
        command += ["--bench-cmd", shlex.join(bench), "--serve-params", str(folder / "serve.json"), "--output-dir", str(folder / "out")]
        env = engine_environment(launcher.platform, offline=True) | vllm_environment(settings, launcher.platform)
        env |= SERVER_ENVIRONMENT | {"PATH": os.pathsep.join([str(Path(VLLM).parent), os.environ["PATH"]])}
        del env["VLLM_ENABLE_V1_MULTIPROCESSING"]
        start = time.perf_counter()
        subprocess.run(command, env=env, check=True, stdout=sys.stderr, timeout=SWEEP_TIMEOUT_S)
        seconds = time.perf_counter() - start
        results = list((folder / "out").rglob("run=*.json"))
        assert len(results) == len(configurations), f"{len(results)} results for {len(configurations)} configurations"
        return seconds


def _parameters(page: int, live: LiveSettings, platform: str) -> Json:
    """The flags that our recommendation would give, as the sweep takes them."""
    config = served_config(engine_settings(page, live.max_num_batched_tokens), live.arm, platform)
    return {name: json.dumps(value) if isinstance(value, dict) else value for name, value in config.items() if name != "model"}
