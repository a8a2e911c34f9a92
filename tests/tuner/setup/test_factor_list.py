"""What a study varies: each setting's kind, condition, default and effect on memory, and the numbers of configurations, counted by hand."""

from __future__ import annotations

import pytest

from tests.tuner.workbench import config_of
from tuner.setup.factor_list import space_json
from tuner.setup.study_setup import prepare_study

SEQS = {"max_num_seqs": {"levels": [32, 64, 128], "when": "page_size <= 16"}}


@pytest.mark.slow
def test_configurations_are_counted_before_and_after_conditions_and_what_cannot_run() -> None:
    """2 page sizes x 2 budgets x 2 arms x 3 x 2. With pages of 32 max_num_seqs is vLLM's 256, too many for a budget of 128."""
    given = {"env:USE_BATCHED_RPA_KERNEL": ["0", "1"], **SEQS}
    found = space_json(prepare_study(config_of(factors=given, chunk_budgets=[128, 256])))
    assert found["configurations"] == {"combinations": 48, "after_conditions": 24 + 8, "searched": 24 + 4, "feasible": 28}
    assert (found["engines"], found["cells"], found["compare"], found["excluded"]) == (4, 14, "page_alignment", [])


def test_an_engine_that_cannot_run_is_told_with_its_reason() -> None:
    """20 pages of 16 hold no request of 512 tokens."""
    found = space_json(prepare_study(config_of(num_gpu_blocks=20, max_model_len=512)))
    assert found["configurations"] == {"combinations": 8, "after_conditions": 8, "searched": 8, "feasible": 4}
    assert [(item["engine"], item["configurations"]) for item in found["excluded"]] == [("page size 16", 4)]
    assert "num_gpu_blocks" in found["excluded"][0]["reason"]


@pytest.mark.slow
def test_every_factor_has_its_kind_default_and_effect_on_memory() -> None:
    factors = space_json(prepare_study(config_of(factors={"gpu_memory_utilization": [0.5, 0.9], **SEQS})))["factors"]
    told = {item["factor"]: (item["kind"], item["default"], item["memory"]) for item in factors}
    assert told == {
        "page_size": ("cold", 32, "pages"),
        "chunk_budget": ("live", 2048, "grows"),
        "page_alignment": ("live", "default", "none"),
        "gpu_memory_utilization": ("cold", 0.92, "unknown"),
        "max_num_seqs": ("live", 256, "grows"),
    }
    conditions = {item["factor"]: (item["when"], item["inactive"]) for item in factors if "when" in item}
    assert conditions == {"max_num_seqs": ("page_size <= 16", 256)}
