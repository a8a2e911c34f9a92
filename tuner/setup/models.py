"""Resolves `--model`: the built-in tiny model, a local folder, or a Hugging Face id. Only `prepare` writes anything."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuner.core.defaults import cache_root
from tuner.core.errors import BadInput
from tuner.core.whole_files import write_whole
from tuner.engine.environment import engine_environment
from tuner.engine.known_facts import facts_of
from tuner.engine.model_facts import QUESTION_ARGS

TINY_QWEN3 = "tiny-qwen3"

# Small enough for two CPU cores, with grouped-query attention like the real ones. Weights are vLLM's dummy weights.
TINY_QWEN3_CONFIG: Mapping[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "num_hidden_layers": 2,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 512,
    "vocab_size": 2048,
    "max_position_embeddings": 4096,
    "torch_dtype": "float32",
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts")
_ACTIVE_EXPERT_KEYS = ("num_experts_per_tok", "num_experts_per_token", "moe_topk")
_GATED_ACTIVATIONS = ("silu", "swish")  # of the others some are gated and some are not
_MULTIMODAL_KEYS = ("vision_config", "audio_config", "image_token_id", "image_token_index")


@dataclass(frozen=True)
class ResolvedModel:
    """`path` is what vLLM gets; `features` describe the architecture, to find results of similar models."""

    name: str
    path: str
    load_format: str
    vocab_size: int
    max_position: int  # tokens
    features: dict[str, Any]
    multimodal: bool = False
    files: Mapping[str, str] = field(default_factory=dict)  # name -> content: what prepare() writes into `path`

    def prepare(self) -> None:
        """Write the files of a built-in model. Raises BadInput where the cache folder cannot be written."""
        folder = Path(self.path)
        for name, content in self.files.items():
            target = folder / name
            try:
                if target.is_file() and target.read_text(encoding="utf-8") == content:
                    continue
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(target, content)
            except OSError as error:
                raise BadInput(f"the cache folder {folder} cannot be written: {error.strerror}; set TUNER_CACHE to another") from error


def local_features(name: str) -> dict[str, Any] | None:
    """The features of a model whose config.json is already on this machine; None otherwise. Downloads and writes nothing."""
    found = local_model(name)
    return None if found is None else found.features


def local_model(name: str) -> ResolvedModel | None:
    """The model, by the keys of its config.json where that is already on this machine; None otherwise. Downloads and writes nothing."""
    try:
        if name == TINY_QWEN3 or Path(name).expanduser().is_dir():
            return resolve_model(name)
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(name, "config.json") if HUB_ID.fullmatch(name) else None
        return _described(name, name, _read_config(Path(cached), name)) if isinstance(cached, str) else None
    except (BadInput, ImportError, OSError):
        return None


def local_revision(name: str) -> str | None:
    """The commit of a Hugging Face model's files that are on this machine, which are what vLLM loads; None for a folder and where there are
    none."""
    try:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(name, "config.json") if HUB_ID.fullmatch(name) else None
    except (ImportError, OSError, ValueError):
        return None
    folder = Path(cached).parent if isinstance(cached, str) else None
    return folder.name if folder is not None and folder.parent.name == "snapshots" else None


def resolve_model(name: str) -> ResolvedModel:
    """By the keys of its config.json alone: as_vllm_sees_it knows more. Raises BadInput, in one line, for a model that is neither built in,
    nor a folder with config.json, nor known to Hugging Face."""
    place = place_of(name)
    if place is None:
        return _tiny_qwen3()
    local = Path(place).is_absolute()
    return _described(name, place, _read_config(Path(place) / "config.json", name) if local else _hub_config(name))


def known_model(name: str, python: str | None, platform: str, engine_args: Mapping[str, Any]) -> ResolvedModel:
    """The model as vLLM in that Python (None: this one) will see it; by the keys of its config.json where there is no vLLM to ask.

    `engine_args`: the user's, with vLLM's names; some change the configuration. Takes as long as importing vLLM, but for the built-in
    model, whose configuration is complete, and for a folder that was asked about before. Raises BadInput.
    """
    place = place_of(name)
    if place is None:
        return _tiny_qwen3()
    question = {"model": place, **{key: value for key, value in engine_args.items() if key in QUESTION_ARGS}}
    answer = facts_of(question, python, engine_environment(platform, offline=Path(place).is_absolute()))
    return resolve_model(name) if answer is None else as_vllm_sees_it(name, place, answer)


def as_vllm_sees_it(name: str, path: str, answer: Mapping[str, Any]) -> ResolvedModel:
    """The model by vLLM's answer to tuner.engine.model_facts.ask_vllm. Raises BadInput for one that it refuses."""
    if "error" in answer:
        raise BadInput(f"model {name!r}: vLLM cannot read its configuration: {answer['error']}; use a model that this vLLM supports")
    facts = answer["facts"]
    found = _described(name, path, {"architectures": [facts["architecture"]], **facts["config"]})
    features = {**found.features, "sinks": facts["sinks"], **({"attention": "mla"} if facts["mla"] else {})}
    return replace(found, max_position=facts["max_model_len"], features=features, multimodal=facts["multimodal"])


def place_of(name: str) -> str | None:
    """What vLLM gets for a model that is not built in: the folder, or the Hugging Face id; None for the built-in one. Raises BadInput."""
    if name == TINY_QWEN3:
        return None
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BadInput(f"model {name!r}: the folder has no config.json; name the folder that holds the model")
        return str(folder.resolve())
    if HUB_ID.fullmatch(name):
        return name
    raise BadInput(f"unknown model {name!r}; use {TINY_QWEN3}, a folder with config.json, or a Hugging Face id such as Qwen/Qwen3-0.6B")


def model_of_config(path: Path) -> ResolvedModel:
    """A model without weights, from its config.json alone under any file name. Raises BadInput."""
    return _without_weights(str(path), path.stem, _read_config(path, str(path)))


def _tiny_qwen3() -> ResolvedModel:
    return _without_weights(TINY_QWEN3, TINY_QWEN3, TINY_QWEN3_CONFIG)


def _without_weights(name: str, stem: str, config: Mapping[str, Any]) -> ResolvedModel:
    """In a folder of its own in the cache, which prepare() makes."""
    content = json.dumps(dict(config), indent=2, sort_keys=True) + "\n"
    folder = cache_root() / "models" / f"{stem}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    return _described(name, str(folder), dict(config), load_format="dummy", files={"config.json": content})


def _hub_config(name: str) -> dict[str, Any]:
    """config.json from the local Hugging Face cache, else fetched into a temporary folder (vLLM downloads the model itself)."""
    unknown = f"unknown model {name!r}: not a folder, not in the local Hugging Face cache"
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
    except ImportError:
        raise BadInput(f"{unknown}, and huggingface_hub is not installed; use {TINY_QWEN3} or a folder with config.json") from None
    cached = try_to_load_from_cache(name, "config.json")
    if isinstance(cached, str):
        return _read_config(Path(cached), name)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="tuner-model-") as folder:
        try:
            path = hf_hub_download(name, "config.json", local_dir=folder)
        except Exception as error:  # its errors come from several HTTP libraries
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise BadInput(f"{unknown}, and its config.json cannot be fetched ({reason[:200]}); check the name or download it") from error
        return _read_config(Path(path), name)


def _read_config(path: Path, name: str) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"model {name!r}: {path.name} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise BadInput(f"model {name!r}: {path.name} must hold a JSON object, found {type(config).__name__}")
    return config


def _described(
    name: str, path: str, config: Mapping[str, Any], load_format: str = "auto", files: Mapping[str, str] | None = None
) -> ResolvedModel:
    """The model that a config.json describes. (Multimodal models have the sizes of their language model in `text_config`.)"""
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    assert isinstance(text, Mapping)
    vocab_size = _number(text, config, ("vocab_size",), name)
    heads = _number(text, config, ("num_attention_heads", "n_head"), name)
    hidden = _number(text, config, ("hidden_size", "n_embd", "d_model"), name)
    experts = next((int(text[key]) for key in _EXPERT_KEYS if text.get(key)), 0)
    features = {
        "architecture": next(iter(config.get("architectures") or []), "unknown"),
        "layers": _number(text, config, ("num_hidden_layers", "n_layer"), name),
        "hidden_size": hidden,
        "heads": heads,
        "kv_heads": int(text.get("num_key_value_heads") or heads),
        "head_size": int(text.get("head_dim") or hidden // heads),
        "vocab_size": vocab_size,
        "dtype": str(text.get("dtype") or text.get("torch_dtype") or config.get("dtype") or config.get("torch_dtype") or "auto"),
        "moe": experts > 1,
        "experts": experts,
        "experts_per_token": next((int(text[key]) for key in _ACTIVE_EXPERT_KEYS if text.get(key)), None) if experts > 1 else 0,
        **_memory_features(text, config, experts),
    }
    max_position = _number(text, config, ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"), name)
    multimodal = any(config.get(key) is not None for key in _MULTIMODAL_KEYS)
    return ResolvedModel(
        name=name,
        path=path,
        load_format=load_format,
        vocab_size=vocab_size,
        max_position=max_position,
        features=features,
        multimodal=multimodal,
        files=files or {},
    )


def _memory_features(text: Mapping[str, Any], config: Mapping[str, Any], experts: int) -> dict[str, Any]:
    """What tuner.setup.model_memory needs. `attention` is "full", "sliding", "mla" (latent) or "hybrid" (state-space layers)."""
    layers = range(int(text.get("num_hidden_layers") or text.get("n_layer") or 0))
    kinds = set(text.get("layer_types") or ["full_attention"])
    if text.get("kv_lora_rank"):
        attention = "mla"
    elif not kinds <= {"full_attention", "sliding_attention"} or any(key.startswith(("mamba", "ssm", "linear_")) for key in text):
        attention = "hybrid"
    else:
        sliding = "sliding_attention" in kinds or (text.get("sliding_window") and text.get("use_sliding_window", True))
        attention = "sliding" if sliding else "full"
    dense, step = set(text.get("mlp_only_layers") or ()), int(text.get("decoder_sparse_step") or 1)
    first = int(text.get("first_k_dense_replace") or 0)
    quantization = text.get("quantization_config") or config.get("quantization_config")
    return {
        "attention": attention,
        "intermediate_size": text.get("intermediate_size"),
        "expert_intermediate_size": text.get("moe_intermediate_size"),
        "expert_layers": sum(i not in dense and (i + 1) % step == 0 and i >= first for i in layers) if experts else 0,
        "gated_mlp": text.get("hidden_act") in _GATED_ACTIVATIONS,
        "tied_embeddings": bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", True))),
        "quantization": quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else None,
    }


def _number(text: Mapping[str, Any], config: Mapping[str, Any], keys: tuple[str, ...], name: str) -> int:
    for source in (text, config):
        for key in keys:
            value = source.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    raise BadInput(f"model {name!r}: config.json has no {keys[0]}; only decoder language models can be tuned")
