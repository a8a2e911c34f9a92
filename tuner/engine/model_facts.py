"""What vLLM's own configuration says about a model: asked of the engine's Python, which starts no engine and loads no weights.

    python -m tuner.engine.model_facts < questions.json        (a list of questions; prints a list of answers)

A config.json leaves out what its class in transformers fills in (a published Gemma 3 names neither heads nor vocabulary, a Falcon no
maximum length), and vLLM computes the length, the KV heads and the head size from that. Here vLLM's functions do it, but for inspecting
the model's class, which takes a process of its own.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tuner
from tuner.engine.installed_packages import quickly_listed

Json = dict[str, Any]

ASK_TIMEOUT_S = 300.0
# Engine arguments that change what a model's configuration is.
QUESTION_ARGS = ("revision", "code_revision", "trust_remote_code", "config_format", "hf_overrides")
# Models whose attention always has sinks; the others say so in their configuration (vLLM 0.32, model_executor/models).
_WITH_SINKS = ("gpt_oss", "openai_privacy_filter")
_WITH_SINKS_BY_LAYER = ("granite", "granitemoe")


def ask_vllm(questions: Sequence[Json], python: str | None, env: Mapping[str, str], timeout_s: float = ASK_TIMEOUT_S) -> list[Json] | None:
    """An answer for each question ({"model": path or name, and any of QUESTION_ARGS}): {"facts": ...}, or {"error": one line} for a model
    that vLLM refuses. None where vLLM is not in that Python (None: this one) or does not answer."""
    if python is None and importlib.util.find_spec("vllm") is None:
        return None
    root = str(Path(next(iter(tuner.__path__))).parent)
    env = {**env, "PYTHONPATH": os.pathsep.join(filter(None, [root, env.get("PYTHONPATH")]))}
    command = [str(Path(python).expanduser()) if python else sys.executable, "-m", "tuner.engine.model_facts"]
    try:
        done = subprocess.run(command, env=env, input=json.dumps(questions), capture_output=True, text=True, timeout=timeout_s, check=True)
        answers: list[Json] = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return answers


def main() -> None:
    gc.disable()  # this process is short, and a collection looks through all that vLLM's import makes
    with quickly_listed():
        answers = [_answer(question) for question in json.load(sys.stdin)]
    sys.stdout.write("\n" + json.dumps(answers) + "\n")


def _answer(question: Json) -> Json:
    try:
        return {"facts": model_facts(**question)}
    except Exception as error:  # noqa: BLE001 - transformers, vLLM and pydantic each raise their own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return {"error": (lines[0] if lines else type(error).__name__)[:300]}


def model_facts(
    model: str,
    *,
    revision: str | None = None,
    code_revision: str | None = None,
    trust_remote_code: bool = False,
    config_format: str = "auto",
    hf_overrides: Json | None = None,
) -> Json:
    """`config`: the language model's configuration as transformers completes it, in which vLLM's numbers stand under their usual keys;
    `max_model_len` (tokens, rope scaling included); `mla`, `sinks`, `multimodal`; `architecture`. To be called in the engine's Python."""
    from vllm.config.model import _get_and_verify_max_len
    from vllm.model_executor.models import registry
    from vllm.transformers_utils.config import get_config, get_hf_text_config
    from vllm.transformers_utils.model_arch_config_convertor import MODEL_ARCH_CONFIG_CONVERTORS, ModelArchConfigConvertorBase

    whole = get_config(
        model, trust_remote_code, revision, code_revision, config_format, hf_overrides_kw=hf_overrides or {}, hf_overrides_fn=None
    )
    text = get_hf_text_config(whole)
    convertor = MODEL_ARCH_CONFIG_CONVERTORS.get(whole.model_type, ModelArchConfigConvertorBase)
    found = convertor(whole, text, revision=revision).convert()
    longest = _get_and_verify_max_len(
        hf_config=text,
        model_arch_config=found,
        tokenizer_config=None,
        max_model_len=None,
        disable_sliding_window=False,
        sliding_window=None,
    )
    config = json.loads(text.to_json_string(use_diff=False)) | {
        "hidden_size": found.hidden_size,
        "num_hidden_layers": found.total_num_hidden_layers,
        "num_attention_heads": found.total_num_attention_heads,
        "num_key_value_heads": found.total_num_kv_heads,
        "head_dim": found.head_size,
        "vocab_size": found.vocab_size,
        "max_position_embeddings": longest,
        "dtype": str(getattr(whole, "dtype", None) or getattr(text, "dtype", None) or "auto").removeprefix("torch."),
        "quantization_config": found.quantization_config,
    }
    return {
        "architecture": next(iter(found.architectures), "unknown"),
        "config": config,
        "max_model_len": longest,
        "mla": found.is_deepseek_mla,
        "multimodal": any(name in registry._MULTIMODAL_MODELS for name in found.architectures),
        "sinks": _has_sinks(str(text.model_type), config),
    }


def _has_sinks(model_type: str, config: Json) -> bool:
    """Whether attention has a learned logit beside the tokens' (an attention sink)."""
    flags = [value for name, value in config.items() if "sink" in name and isinstance(value, bool)]
    by_layer = model_type in _WITH_SINKS_BY_LAYER and config.get("layer_types") is not None
    return model_type in _WITH_SINKS or any(flags) or (by_layer and not flags)


if __name__ == "__main__":
    main()
