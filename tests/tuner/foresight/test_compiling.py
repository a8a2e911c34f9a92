"""The real compiler, for TPUs that are not here: what it takes, what it refuses, and that nothing is left behind.

Small models of the real architecture, so that a compilation is seconds: what the kernel's limits depend on is the same.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.foresight.questions import questions_about
from tuner.core.errors import FailureClass, TrialFailed
from tuner.engine.processes import group_alive
from tuner.foresight.check import Foresight
from tuner.foresight.compiler import Compiler
from tuner.foresight.kept import KeptAnswers
from tuner.foresight.messages import STEP
from tuner.foresight.question import Foreseen, Verdict
from tuner.setup.feasibility import check
from tuner.setup.hardware import TPU_LIMITS
from tuner.setup.model_memory import kv_page_bytes, weight_bytes
from tuner.setup.models import resolve_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
pytest.importorskip("importlib.util").find_spec("libtpu") or pytest.skip("needs libtpu", allow_module_level=True)

MIB = 1024**2
# One layer with the weights of a model that a v5e cannot hold and a v6e can.
HEAVY = {"hidden_size": 4096, "intermediate_size": 8192 * 80, "num_attention_heads": 8}
# As many as Qwen3 has: with fewer, the kernel takes larger blocks for long contexts, whose code takes a minute to compile.
HEADS = {"num_attention_heads": 16, "num_key_value_heads": 8}


@pytest.fixture
def compiler(shared_compiler: Compiler) -> Compiler:
    return shared_compiler


@pytest.fixture
def ask(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))

    def answer(accelerators: str = "v6e-1", **settings: Any) -> list[Foreseen]:
        foresight = Foresight(compiler, KeptAnswers(), {}, lambda _line: None)
        return list(foresight.answer(questions_about(tmp_path, accelerators, **settings)))

    return answer


def test_a_page_of_16_at_long_contexts_is_refused_for_smem_and_one_of_32_is_not(ask: Any, tmp_path: Path) -> None:
    """What broke public nightlies of vLLM on TPU, without a TPU. tpu-inference's rule of thumb (half of SMEM) is stricter than the
    compiler: it forbids a page of 32 there, too."""
    sixteen, thirty_two = ask(model=HEADS, page_sizes=[16, 32], max_num_seqs=128, max_model_len=40960)
    assert (sixteen.verdict, sixteen.failure, sixteen.space) == (Verdict.DOES_NOT_FIT, FailureClass.OUT_OF_MEMORY, "smem")
    assert "1310720" in sixteen.reason and "1048576" in sixteen.reason, "128 x 2,560 pages x 4 bytes, of 1 MiB"
    assert (thirty_two.verdict, thirty_two.reason) == (Verdict.FITS, None)
    engine = thirty_two.question.engine
    assert "above 524288, half of TPU v6e's SMEM" in str(check(engine, resolve_model(str(tmp_path)).features, TPU_LIMITS["TPU v6e"])[0])


def test_weights_pages_and_the_pool_are_those_of_the_formulas(ask: Any, tmp_path: Path) -> None:
    (found,) = ask()
    features = resolve_model(str(tmp_path)).features
    prepared = found.prepared
    assert prepared.page_bytes == kv_page_bytes(features, "bfloat16", 64, 1)
    assert prepared.weight_bytes == pytest.approx(weight_bytes(features, "bfloat16", 1), rel=0.01)
    room = prepared.usable_hbm_bytes * prepared.utilization - prepared.weight_bytes
    assert prepared.pages == pytest.approx(room / prepared.page_bytes, abs=2)
    steps = {program.size for program in prepared.programs if program.kind == STEP}
    assert steps == {16, 32, 64, 128}, "the engine's padded sizes"
    for program in found.programs:
        assert program.argument_bytes == pytest.approx(prepared.weight_bytes + prepared.pages * prepared.page_bytes, abs=4 * MIB)
    assert 0 < found.hbm_left_bytes < prepared.usable_hbm_bytes * (1 - prepared.utilization)


def test_too_big_a_model_does_not_fit_a_v5e_and_fits_a_v6e(ask: Any) -> None:
    small, large = ask("v5e-1,v6e-1", model=HEAVY, page_sizes=[16], chunk_budgets=[16])
    assert (small.verdict, small.kind) == (Verdict.DOES_NOT_FIT, "HBM out of memory")
    assert small.failed_program is None and "exceeds total_hbm_limit" in (small.refused or ""), (
        "the engine says so before anything is compiled"
    )
    assert large.verdict is Verdict.FITS


def test_a_pool_that_is_too_big_is_refused_by_the_compiler(ask: Any) -> None:
    """A given number of pages is allocated whatever gpu_memory_utilization says."""
    (found,) = ask(num_gpu_blocks=700_000)
    assert (found.verdict, found.space) == (Verdict.DOES_NOT_FIT, "hbm")
    assert "31.24G" in found.reason


def test_tensor_parallelism_splits_weights_and_heads(ask: Any, compiler: Compiler, tmp_path: Path) -> None:
    (two,) = ask("v6e-4", tensor_parallel_size=2)
    one = compiler.prepare(questions_about(tmp_path, "v6e-4")[0])
    assert two.verdict is Verdict.FITS
    assert two.prepared.page_bytes * 2 == one.page_bytes
    assert two.prepared.weight_bytes < one.weight_bytes


def test_the_table_of_hardware_agrees_with_the_compiler(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    for name in ("v5e", "v5p", "v6e", "7x"):
        (question,) = questions_about(tmp_path, name)
        usable = compiler.prepare(question).usable_hbm_bytes
        assert TPU_LIMITS[question.target.chip].usable_hbm_bytes == pytest.approx(usable, abs=6 * MIB), name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2,
                    "moe_intermediate_size": 128, "decoder_sparse_step": 1, "norm_topk_prob": True}}, "Qwen3MoeForCausalLM as vLLM's own"),
        ({"model": {"architectures": ["Llama4ForCausalLM"], "model_type": "llama4_text"}},
         "tpu-inference does not build Llama4ForCausalLM from this config.json"),
        ({"attention_backend": "tuner_xla"}, "attention_backend tuner_xla"),
        ({"attention_backend": "tuner_rpa"}, "attention_backend tuner_rpa"),
    ],
    ids=["an architecture that runs through torchax", "a config.json that its class cannot read", "our XLA backend", "our write"],
)  # fmt: skip
def test_what_is_not_known_says_which_part(ask: Any, changes: dict[str, Any], words: str) -> None:
    (found,) = ask(**changes)
    assert found.verdict is Verdict.NOT_KNOWN and words in found.reason


def test_what_vllm_refuses_is_an_invalid_setting_in_its_words(ask: Any) -> None:
    (found,) = ask(engine_args={"kv_cache_dtype": "fp9"})
    assert (found.verdict, found.kind) == (Verdict.DOES_NOT_FIT, "invalid setting")
    assert "fp9" in found.reason or "cache_dtype" in found.reason


def test_a_second_compiler_beside_an_engine_or_another_works_and_leaves_no_process_and_no_file(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libtpu lets one process of a machine in, unless it is told that this one wants no device."""
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (question,) = questions_about(tmp_path)
    with Compiler(None) as other:
        assert compiler.prepare(question).pages == other.prepare(question).pages
        with pytest.raises(TrialFailed, match="block_size"):
            other.prepare(replace(question, engine=question.engine.with_changes(block_size=-1)))
        host = other._host
        assert host is not None and host.alive
    assert not group_alive(host.pid)
    assert list(tmp_path.glob("tuner-foresight-*")) == []
