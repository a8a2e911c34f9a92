"""Published models as vLLM sees them: their config.json leaves out what transformers fills in and what vLLM computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.programs import Programs
from tests.tuner.setup.published import NAMES, model_folder
from tuner.core.errors import BadInput
from tuner.engine.model_facts import ask_vllm
from tuner.setup.models import TINY_QWEN3, ResolvedModel, as_vllm_sees_it, resolve_model

pytestmark = pytest.mark.slow  # asks vLLM


@pytest.fixture(scope="module")
def answers(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """vLLM's answer for each asset, the built-in model and two that it refuses; asked once for all."""
    folder = tmp_path_factory.mktemp("models")
    places = {name: model_folder(folder, name) for name in NAMES}
    for name, text in (("unheard-of", '{"model_type": "unheard-of", "architectures": ["X"]}'), ("no-type", '{"hidden_size": 8}')):
        places[name] = folder / name
        places[name].mkdir()
        (places[name] / "config.json").write_text(text)
    built_in = resolve_model(TINY_QWEN3)
    places[TINY_QWEN3] = folder / TINY_QWEN3
    places[TINY_QWEN3].mkdir()
    (places[TINY_QWEN3] / "config.json").write_text(built_in.files["config.json"])
    questions = json.dumps([{"model": str(place)} for place in places.values()])
    printed = programs.execute(f"import io, sys; sys.stdin = io.StringIO({questions!r})\nfrom tuner.engine.model_facts import main; main()")
    return dict(zip(places, json.loads(printed.splitlines()[-1]), strict=True))


def _model(answers: dict[str, dict[str, Any]], name: str) -> ResolvedModel:
    return as_vllm_sees_it(name, f"/models/{name}", answers[name])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gemma-3-4b-it", {"layers": 34, "heads": 8, "kv_heads": 4, "head_size": 256, "vocab_size": 262208, "attention": "sliding"}),
        ("gemma-3-27b-it", {"layers": 62, "heads": 32, "kv_heads": 16, "head_size": 128, "vocab_size": 262208, "attention": "sliding"}),
        ("falcon-7b", {"layers": 32, "heads": 71, "kv_heads": 1, "head_size": 64, "attention": "full"}),
        ("falcon-40b", {"layers": 60, "heads": 128, "kv_heads": 8, "head_size": 64, "attention": "full"}),
        ("gpt2", {"layers": 12, "heads": 12, "kv_heads": 12, "head_size": 64, "vocab_size": 50257}),
        ("deepseek-v2-lite", {"attention": "mla", "experts": 64, "experts_per_token": 6}),
        ("gpt-oss", {"sinks": True, "experts": 32, "head_size": 64}),
        ("granite-swa", {"sinks": True, "moe": False}),
        ("mixtral-8x7b", {"experts": 8, "experts_per_token": 2, "sinks": False, "attention": "full"}),
        ("qwen2-52-heads", {"heads": 52, "kv_heads": 4, "attention": "full"}),
    ],
)
def test_sizes_that_config_json_does_not_name(answers: dict[str, dict[str, Any]], name: str, expected: dict[str, Any]) -> None:
    features = _model(answers, name).features
    assert {key: features[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("llama-linear-rope", 2048),  # 512 with a linear factor of 4
        ("llama-dynamic-rope", 1024),
        ("llama-yarn", 8192),  # scaled already
        ("llama-3.1-8b", 131072),
        ("gemma-3-4b-it", 131072),  # of its class, scaled already
        ("falcon-7b", 2048),
    ],
)
def test_rope_scaling_and_the_class_decide_how_long_a_request_may_be(answers: dict[str, dict[str, Any]], name: str, tokens: int) -> None:
    assert _model(answers, name).max_position == tokens


def test_multimodal_models_are_known_by_their_architecture(answers: dict[str, dict[str, Any]]) -> None:
    assert {name for name in NAMES if _model(answers, name).multimodal} == {"gemma-3-4b-it", "gemma-3-27b-it"}


@pytest.mark.parametrize("name", ["unheard-of", "no-type"])
def test_a_model_that_vllm_cannot_read_is_refused_in_one_line(answers: dict[str, dict[str, Any]], name: str) -> None:
    with pytest.raises(BadInput, match=rf"model '{name}': vLLM cannot read its configuration: .*; use a model that") as caught:
        _model(answers, name)
    assert "\n" not in str(caught.value)


def test_the_built_in_model_need_not_be_asked_for(answers: dict[str, dict[str, Any]]) -> None:
    asked, known = _model(answers, TINY_QWEN3), resolve_model(TINY_QWEN3)
    assert (asked.max_position, asked.vocab_size, asked.multimodal) == (known.max_position, known.vocab_size, known.multimodal)
    assert {**known.features, "sinks": False} == asked.features


def test_what_the_keys_of_a_plain_config_say_is_what_vllm_says(answers: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """So a study of such a model that began before vLLM was asked can be resumed."""
    for name in ("llama-3.1-8b", "mixtral-8x7b", "qwen3-moe"):
        known, asked = resolve_model(str(model_folder(tmp_path, name))), _model(answers, name)
        assert {**known.features, "sinks": False} == asked.features and known.max_position == asked.max_position


def test_where_there_is_no_vllm_nobody_is_asked(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no vllm here >&2\nexit 1\n")
    python.chmod(0o755)
    assert ask_vllm([{"model": "x"}], str(python), {}) is None
    assert ask_vllm([{"model": "x"}], str(tmp_path / "none"), {}) is None
