"""Fixtures of the real engine: a small random Qwen3 checkpoint, a Hugging Face torch reference for it, and one engine host a session.

Engine starts are expensive, so engines are shared: `engines(page_size, **settings)` gives the running one if its settings are the same. At
most one runs at a time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, override

import pytest

from tests.plugins.lending import Lending, LentCommands
from tuner.core.contract import EngineSettings, Json, LoadPlan, PlannedRequest
from tuner.engine.client import EngineHost
from tuner.engine.commands import CommandHost
from tuner.engine.environment import tpu_present, xla_cache_path
from tuner.launchers import local, serve
from tuner.launchers.local import LocalLauncher, LocalSession

if not tpu_present():
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # libtpu is installed; without this JAX looks for chips first

START_TIMEOUT_S = 420.0
RUN_TIMEOUT_S = 240.0
TEST_TIMEOUT_S = 600  # of a test that says nothing itself: importing vLLM alone can take a minute on a busy machine
VOCABULARY = 512
_XLA_CACHE = xla_cache_path()  # before a test names another TUNER_CACHE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("engine") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))


@dataclass(frozen=True)
class Reference:
    """A checkpoint, a plan of mixed prompts, and the tokens that Hugging Face torch generates for it."""

    model_path: Path
    plan: LoadPlan
    tokens: dict[str, tuple[int, ...]]

    def settings(self, page_size: int, **changes: Any) -> EngineSettings:
        base = EngineSettings(
            model=str(self.model_path),
            model_path=str(self.model_path),
            block_size=page_size,
            max_num_batched_tokens=256,
            max_num_seqs=8,
            max_model_len=512,
            dtype="float32",
        )
        return base.with_changes(**changes)


def mixed_plan(seed: int = 7, count: int = 14, vocabulary: int = VOCABULARY) -> LoadPlan:
    """Prompts of 1 to 380 tokens, many of them around page boundaries, the last ones sharing a prefix; 9 to 24 output tokens."""
    rng = random.Random(seed)
    lengths = [1, 17, 31, 32, 33, 64, 65, 127, 129, 150, 200, 257, 300, 380][:count]
    shared = [rng.randrange(3, vocabulary) for _ in range(380)]
    requests = []
    for index, length in enumerate(lengths):
        fresh = [rng.randrange(3, vocabulary) for _ in range(length)]
        prompt = shared[: length - 20] + fresh[:20] if index >= count - 4 else fresh
        requests.append(PlannedRequest(f"r{index}", tuple(prompt), rng.randint(9, 24)))
    return LoadPlan(tuple(requests), 8, hashlib.sha256(repr(requests).encode()).hexdigest())


def random_qwen3(path: Path) -> Path:
    """A checkpoint of a small random Qwen3 (two layers, float32), sharp enough that greedy choices are not ties."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(11)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1024,
        initializer_range=0.2,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    Qwen3ForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Greedy tokens of a random two-layer Qwen3 (float32) by transformers on torch."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        pytest.skip("the reference needs torch and transformers (extra: tpu)")
    import torch
    from transformers import Qwen3ForCausalLM

    path = random_qwen3(tmp_path_factory.mktemp("qwen3"))
    model = Qwen3ForCausalLM.from_pretrained(path).eval()
    plan = mixed_plan()
    tokens = {}
    with torch.no_grad():
        for request in plan.requests:
            output, chosen = model(torch.tensor([request.prompt_token_ids]), use_cache=True), list[int]()
            while len(chosen) < request.max_tokens:  # with torch's own cache: every prefix anew took half a minute of processor time
                chosen.append(int(output.logits[0, -1].argmax()))
                output = model(torch.tensor([chosen[-1:]]), past_key_values=output.past_key_values, use_cache=True)
            tokens[request.request_id] = tuple(chosen)
    assert len({token for output in tokens.values() for token in output}) > 50, "a degenerate model would pass any comparison"
    return Reference(path, plan, tokens)


@pytest.fixture(scope="session")
def engine_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lending]:
    lending = Lending(EngineHost, tmp_path_factory.mktemp("engine-logs"))
    yield lending
    lending.close()


@pytest.fixture(scope="module")
def shared_engine_host(engine_host: Lending) -> Iterator[None]:
    """A launcher that a test makes starts its engines from the session's host."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "EngineHost", engine_host)
        yield


@pytest.fixture(scope="session")
def _command_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lending]:
    lending = Lending(CommandHost, tmp_path_factory.mktemp("command-logs"), LentCommands)
    yield lending
    lending.close()


@pytest.fixture(scope="module")
def shared_command_host(_command_host: Lending) -> Iterator[None]:
    """A serve launcher that a test makes starts its servers from the session's host."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "CommandHost", _command_host)
        yield


@pytest.fixture(scope="session")
def local_launcher(engine_host: Lending, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalLauncher]:
    """One engine host for the whole session. Skips where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed (extra: tpu)")

    class Launcher(LocalLauncher):
        @override
        def _start(self, args: Json, env: dict[str, str], timeout_s: float) -> LocalSession:
            if self._host is None:
                self._host = engine_host(self._python, env, self._log_dir)
            return super()._start(args, env, timeout_s)

    launcher = Launcher(log_dir=tmp_path_factory.mktemp("engine-logs"), platform="auto" if tpu_present() else "cpu")
    yield launcher
    launcher.close()


class SharedEngines:
    """At most one engine at a time, kept for the next test that wants the same settings."""

    def __init__(self, launcher: LocalLauncher, reference: Reference) -> None:
        self._launcher = launcher
        self._reference = reference
        self._running: tuple[EngineSettings, LocalSession] | None = None

    def __call__(self, page_size: int, **changes: Any) -> LocalSession:
        """The running engine with these settings; an earlier, different one is closed first."""
        settings = self._reference.settings(page_size, **changes)
        if self._running is not None and self._running[0] == settings and self._running[1].alive:
            return self._running[1]
        self.close()
        self._running = (settings, self._launcher.open(settings, START_TIMEOUT_S))
        return self._running[1]

    def close(self) -> None:
        """Close the running engine, if there is one: before a test that starts its own."""
        if self._running is not None:
            self._running[1].close()
            self._running = None


@pytest.fixture(scope="session")
def engines(local_launcher: LocalLauncher, reference: Reference) -> Iterator[SharedEngines]:
    shared = SharedEngines(local_launcher, reference)
    yield shared
    shared.close()


@pytest.fixture
def shared_xla_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """What engines compile is kept where all tests keep it, also in a test with a TUNER_CACHE of its own."""
    monkeypatch.setenv("VLLM_XLA_CACHE_PATH", str(_XLA_CACHE))
