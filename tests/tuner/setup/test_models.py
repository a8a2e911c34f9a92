"""--model: the built-in one, a folder, a Hugging Face id, or one line that says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuner.core.errors import BadInput
from tuner.setup.models import TINY_QWEN3_CONFIG, resolve_model

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 4,
    "hidden_size": 64,
    "num_attention_heads": 8,
    "vocab_size": 100,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}


def folder_with(folder: Path, config: Any) -> str:
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return str(folder)


def test_looking_at_the_built_in_model_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    model = resolve_model("tiny-qwen3")
    assert list(tmp_path.iterdir()) == []
    assert (model.load_format, model.vocab_size, model.max_position) == ("dummy", 2048, 4096)
    model.prepare()
    stored = json.loads((Path(model.path) / "config.json").read_text())
    assert stored == dict(TINY_QWEN3_CONFIG)
    before = (Path(model.path) / "config.json").stat().st_mtime_ns
    model.prepare()
    assert (Path(model.path) / "config.json").stat().st_mtime_ns == before
    assert [item.name for item in Path(model.path).iterdir()] == ["config.json"]


def test_a_damaged_cache_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path))
    model = resolve_model("tiny-qwen3")
    Path(model.path).mkdir(parents=True)
    (Path(model.path) / "config.json").write_text("{}")
    model.prepare()
    assert json.loads((Path(model.path) / "config.json").read_text()) == dict(TINY_QWEN3_CONFIG)


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(BadInput, match="set TUNER_CACHE to another"):
        resolve_model("tiny-qwen3").prepare()


def test_a_folder_is_described_by_its_config(tmp_path: Path) -> None:
    model = resolve_model(folder_with(tmp_path, LLAMA))
    assert model.path == str(tmp_path.resolve()) and model.load_format == "auto"
    expected = {
        "architecture": "LlamaForCausalLM",
        "layers": 4,
        "hidden_size": 64,
        "heads": 8,
        "kv_heads": 8,
        "head_size": 8,
        "vocab_size": 100,
        "dtype": "bfloat16",
        "moe": False,
        "experts": 0,
        "attention": "full",
        "intermediate_size": None,
        "expert_intermediate_size": None,
        "expert_layers": 0,
        "gated_mlp": False,
        "tied_embeddings": True,
        "quantization": None,
    }
    assert {key: model.features.get(key) for key in expected} == expected


def test_a_mixture_of_experts_and_a_multimodal_model_are_seen(tmp_path: Path) -> None:
    text = {**LLAMA, "num_experts": 8, "num_key_value_heads": 2, "head_dim": 16}
    model = resolve_model(folder_with(tmp_path, {"architectures": ["X"], "text_config": text, "vision_config": {}}))
    assert model.multimodal
    assert (model.features["moe"], model.features["experts"]) == (True, 8)
    assert (model.features["kv_heads"], model.features["head_size"]) == (2, 16)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "must hold a JSON object"),
        ({"vocab_size": 3}, "config.json has no num_attention_heads"),
        ({**LLAMA, "max_position_embeddings": "long"}, "config.json has no max_position_embeddings"),
    ],
)
def test_a_folder_with_a_bad_config(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        resolve_model(folder_with(tmp_path, config))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"the folder has no config\.json"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize("name", ["nope", "", "a b/c", "a/b/c", "./missing"])
def test_an_unknown_model(name: str) -> None:
    with pytest.raises(BadInput, match="unknown model"):
        resolve_model(name)


def test_a_hub_id_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub")

    def unreachable(*_arguments: Any, **_named: Any) -> str:
        raise OSError("no route\nto host")

    monkeypatch.setattr(hub, "hf_hub_download", unreachable)
    with pytest.raises(BadInput, match=r"unknown model 'nobody/nothing'.*\(no route\)") as caught:
        resolve_model("nobody/nothing")
    assert "\n" not in str(caught.value)


def test_a_hub_id_in_the_local_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub")
    folder_with(tmp_path, LLAMA)

    def forbidden(*_arguments: Any, **_named: Any) -> str:
        raise AssertionError("asked the network")

    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_arguments: str(tmp_path / "config.json"))
    monkeypatch.setattr(hub, "hf_hub_download", forbidden)
    assert resolve_model("someone/llama").path == "someone/llama"
