"""What `tuner doctor --model` says: what vLLM knows about a model, and whether it can be searched here."""

from __future__ import annotations

from tuner.core.contract import EngineSettings
from tuner.core.errors import BadInput
from tuner.setup.model_memory import Features, served_dtype
from tuner.setup.model_rules import model_faults
from tuner.setup.models import ResolvedModel, known_model


def check_model(name: str, python: str | None, platform: str) -> tuple[bool, str, str]:
    """(whether it can be searched, what was found, the fix). `platform`: as JAX calls it; "" where no device was found."""
    platform = platform or "cpu"
    try:
        model = known_model(name, python, platform, {})
    except BadInput as error:
        return False, error.complaint, error.fix or ""
    settings = EngineSettings(
        name, model.path, block_size=16, max_num_batched_tokens=2048, max_num_seqs=8, max_model_len=model.max_position
    )
    faults = list(model_faults(settings, model.features, platform))
    if faults:
        return False, f"{_described(model)}; {'; '.join(fault.reason for fault in faults)}", "; ".join(fault.fix for fault in faults)
    return True, _described(model), ""


def _described(model: ResolvedModel) -> str:
    features: Features = model.features
    dtype = served_dtype("auto", features)
    parts = [
        f"{features['architecture']}: {features['layers']} layers",
        f"{features['heads']} attention heads ({features['kv_heads']} of keys and values, {features['head_size']} wide)",
        f"{features['attention']} attention",
        f"up to {model.max_position} tokens",
        f"vocabulary {model.vocab_size}",
        f"served in {dtype} with a KV cache of the same"
        + ("" if features["quantization"] is None else f", {features['quantization']} weights"),
    ]
    parts += [f"{features['experts']} experts"] if features["moe"] else []
    parts += ["multimodal: searched with text only (--language-model-only)"] if model.multimodal else []
    return ", ".join(parts)
