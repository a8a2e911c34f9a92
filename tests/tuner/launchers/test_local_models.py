"""The real engine on models that are not plain: multimodal ones with text only, and what a failed configuration leaves to the next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.engine import Reference, SharedEngines, mixed_plan
from tuner.core.contract import EngineSettings, LiveSettings, LoadPlan
from tuner.core.errors import TrialFailed
from tuner.launchers.local import LocalLauncher

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

LIVE = (LiveSettings("default", 128), LiveSettings("page_aligned", 128))

# A Gemma 3 with eyes, as small as the built-in model.
TINY_GEMMA: dict[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "boi_token_index": 2000,
    "eoi_token_index": 2001,
    "image_token_index": 2002,
    "mm_tokens_per_image": 16,
    "eos_token_id": 1,
    "torch_dtype": "float32",
    "text_config": {
        "model_type": "gemma3_text",
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": 2048,
        "sliding_window": 64,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    },
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 64,
        "intermediate_size": 128,
        "image_size": 56,
        "patch_size": 14,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "vision_use_head": False,
    },
}


@pytest.fixture
def alone(local_launcher: LocalLauncher, engines: SharedEngines) -> Iterator[LocalLauncher]:
    """The session's launcher, with no engine beside the test's."""
    engines.close()
    yield local_launcher
    engines.close()


def test_a_multimodal_model_runs_both_arms_with_text_only(alone: LocalLauncher, tmp_path: Path) -> None:
    """Every trial failed with a flag that the user never gave (a chunk budget below the tokens of an image)."""
    (tmp_path / "config.json").write_text(json.dumps(TINY_GEMMA))
    settings = EngineSettings(
        "tiny-gemma",
        str(tmp_path),
        block_size=16,
        max_num_batched_tokens=128,
        max_num_seqs=4,
        max_model_len=512,
        load_format="dummy",
        extra_engine_args={"language_model_only": True},
    )
    session = alone.open(settings, 600)
    try:
        for live in LIVE:
            window = session.measure(live, mixed_plan(count=4), 300)
            assert all(record.error is None and record.finished_s for record in window.requests)
        assert session.report.effective["kv_cache_dtype"] == session.report.effective["dtype"] == "bfloat16"
    finally:
        session.close()


def test_a_failed_arm_does_not_make_the_other_one_look_like_a_crash(alone: LocalLauncher, reference: Reference) -> None:
    """The second one said "live settings can change only while no request is unfinished"."""
    settings = reference.settings(32, extra_engine_args={"kv_cache_dtype": "fp8"})
    plan: LoadPlan = mixed_plan(count=4)
    session = alone.open(settings, 600)
    try:
        assert "float8" in session.report.effective["kv_cache_dtype"], "the engine's own, not what was asked for"
        for live in LIVE:
            with pytest.raises(TrialFailed, match="does not support kv_cache_dtype other than auto"):
                session.measure(live, plan, 300)
        assert session.alive
    finally:
        session.close()
