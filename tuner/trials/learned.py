"""What an out-of-memory teaches: settings that need at least as much memory fail as well, so they are skipped. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.records import Trial
from tuner.core.contract import EngineSettings
from tuner.core.errors import FailureClass
from tuner.core.memory_space import memory_space
from tuner.core.settings import Memory, declared_settings
from tuner.serving.stored_settings import measured_engine_of

_COLD = declared_settings(EngineSettings)
_GROWING = tuple(name for name, setting in _COLD.items() if setting.memory is Memory.GROWS)
_SAME = tuple(name for name, setting in _COLD.items() if setting.memory is Memory.SAME)


@dataclass(frozen=True)
class Attempt:
    """A configuration as far as memory is concerned: the engine, and what is live inside it.

    `settings.max_num_batched_tokens` is the compiled maximum, `budget` the live one; `seqs`: live, 0 where it is the compiled one.
    `accelerator`: storage.records.Environment's name.
    """

    settings: EngineSettings
    arm: str
    budget: int
    accelerator: str = ""
    seqs: int = 0


@dataclass(frozen=True)
class OutOfMemory:
    """An attempt that ran out of memory. `space`: "hbm", "vmem", "smem", or None where the message does not say."""

    attempt: Attempt
    space: str | None
    label: str  # how a person finds it, for instance "trial 7"


def dominated_by_oom(candidate: Attempt, known: Sequence[OutOfMemory]) -> str | None:
    """Why `candidate` need not be tried, or None.

    It is dominated where accelerator, arm, model, dtype, parallelism and every further engine setting are the same, budgets, max_num_seqs
    and max_model_len are at least those that failed, and so are the pool of KV pages and the page size in the sense of `_pages_dominate`.
    """
    for item in known:
        failed = item.attempt
        same = (candidate.accelerator, candidate.arm) == (failed.accelerator, failed.arm) and all(
            getattr(candidate.settings, name) == getattr(failed.settings, name) for name in _SAME
        )
        grown = (candidate.budget >= failed.budget and candidate.seqs >= failed.seqs) and all(
            getattr(candidate.settings, name) >= getattr(failed.settings, name) for name in _GROWING
        )
        if same and grown and _pages_dominate(candidate.settings, failed.settings, item.space):
            where = f" of {item.space.upper()}" if item.space else ""
            return f"needs at least the memory with which {item.label} ran out{where}"
    return None


def _pages_dominate(candidate: EngineSettings, failed: EngineSettings, space: str | None) -> bool:
    """Whether pool and page size need at least the memory of the failed ones. That depends on which memory it was:

    - HBM holds the pool, whose size is pages x tokens a page; where no number of pages is given, the engine fills what is left, whatever
      the page size. A given pool and one that adapts cannot be compared.
    - SMEM holds the block tables, which grow as pages get smaller; the pool plays no part.
    - VMEM and an unknown memory: no direction is known (larger pages make larger blocks, smaller ones spill registers, see flash_attn.py
      in tpu_inference), so only the same page size counts.
    """
    if space == "smem":
        return candidate.block_size <= failed.block_size
    if (candidate.num_gpu_blocks is None) != (failed.num_gpu_blocks is None):
        return False
    pool, failed_pool = (settings.block_size * (settings.num_gpu_blocks or 0) for settings in (candidate, failed))
    if pool < failed_pool and candidate.num_gpu_blocks is not None:
        return False
    return space == "hbm" or candidate.block_size == failed.block_size


def known_out_of_memory(trials: Sequence[Trial]) -> list[OutOfMemory]:
    """What the failed trials of one study teach. Its trials belong to one machine, so that the accelerator is left open on both sides."""
    return [
        OutOfMemory(attempt_of(trial), memory_space(f"{trial.error_message} {trial.log_excerpt or ''}"), f"trial {trial.number}")
        for trial in trials
        if trial.error_class == FailureClass.OUT_OF_MEMORY
    ]


def attempt_of(trial: Trial) -> Attempt:
    """Raises BadInput where the trial's stored settings are damaged."""
    return Attempt(measured_engine_of(trial), trial.arm, trial.max_num_batched_tokens, seqs=int(trial.factors.get("max_num_seqs", 0)))
