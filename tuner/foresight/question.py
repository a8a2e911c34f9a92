"""What is asked of the compiler, and the answer. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tuner.core.contract import EngineSettings
from tuner.core.errors import FailureClass
from tuner.core.memory_space import memory_space
from tuner.engine.wire_fields import to_fields
from tuner.foresight.messages import STEP, Compiled, Prepared, ProgramName
from tuner.foresight.target import Target
from tuner.serving.engine_args import engine_args

Json = dict[str, Any]

# They choose which programs run and when, not what is in them.
_SCHEDULING_ONLY = ("scheduler_cls", "async_scheduling", "disable_log_stats", "seed")
_LONGEST_WORDS = 300
FORMAT = 1  # of what kept numbers mean: goes up when an older answer would be wrong
GIB = 1024**3
_REASONS = {"hbm": "HBM", "vmem": "VMEM", "smem": "SMEM"}


@dataclass(frozen=True)
class Question:
    """Can an engine with these cold settings run on this TPU? Both arms run the same programs. `model_hash`: of its config.json."""

    target: Target
    engine: EngineSettings
    model_hash: str

    @property
    def engine_args(self) -> Json:
        """vLLM's, as the engine would get them on that TPU, but for the weights."""
        return engine_args(self.engine.with_changes(load_format="dummy", platform="tpu"), "tpu")

    def key(self, installed: Json, program: ProgramName | None = None) -> Json:
        """What the answer depends on: of one program, or of the engine before anything is compiled. The same program in an engine with
        another chunk budget is the same question."""
        args = {name: value for name, value in self.engine_args.items() if name not in _SCHEDULING_ONLY}
        args["additional_config"] = {name: value for name, value in args["additional_config"].items() if name != "tuner"}
        args["model"] = self.model_hash
        if program is not None:
            del args["max_num_batched_tokens"]
        where = {"topology": self.target.topology, "args": args}
        return {**installed, **where, "program": None if program is None else to_fields(program)}


class Verdict(StrEnum):
    FITS = "fits"
    DOES_NOT_FIT = "does not fit"
    NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Foreseen:
    """The answer. `prepared` None: not even the engine could be built. `lost`: why nobody knows. `refused`: the engine's own words, and
    `refusal` their class, where it refuses its settings."""

    question: Question
    prepared: Prepared | None
    programs: tuple[Compiled, ...] = ()
    lost: str | None = None
    refused: str | None = None
    refusal: FailureClass | None = None
    seconds: float = 0.0  # spent now: an answer that was kept costs nothing
    kept: bool = False

    @property
    def verdict(self) -> Verdict:
        if self.failed_program is not None or self.refused is not None:
            return Verdict.DOES_NOT_FIT
        if self.lost is not None or self.prepared is None:
            return Verdict.NOT_KNOWN
        return Verdict.DOES_NOT_FIT if self._overfull is not None else Verdict.FITS

    @property
    def _overfull(self) -> str | None:
        """Each program fits by itself, but not beside weights that only another one uses (those of the logits are no part of a step)."""
        left = self.hbm_left_bytes
        return (
            None
            if left is None or left >= 0
            else f"out of memory on HBM by {-left / GIB:.2f} GiB: weights, KV pages and the largest program"
        )

    @property
    def failed_program(self) -> Compiled | None:
        return next((program for program in self.programs if program.failure is not None), None)

    @property
    def failure(self) -> FailureClass | None:
        failed = self.failed_program
        if failed is not None and failed.failure is not None:
            return FailureClass(failed.failure)
        return FailureClass.OUT_OF_MEMORY if self.refusal is None and self._overfull is not None else self.refusal

    @property
    def space(self) -> str | None:
        """Which memory ran out: "hbm", "vmem" or "smem"."""
        return None if self.failure is not FailureClass.OUT_OF_MEMORY else memory_space(self._words) or "hbm"

    @property
    def kind(self) -> str | None:
        """The failure in a word or two, for people."""
        if self.failure is None:
            return None
        if self.space is not None:
            return f"{_REASONS[self.space]} out of memory"
        if self.failure is FailureClass.INVALID_CONFIG:
            return "invalid setting"
        return "Mosaic error" if "mosaic" in self._words.lower() else "compiler error"

    @property
    def _words(self) -> str:
        failed = self.failed_program
        return self.refused or self._overfull or "" if failed is None else failed.message

    @property
    def reason(self) -> str | None:
        """Why it does not fit, in the words of the compiler or the engine; why it is not known; None where it fits."""
        if self.verdict is Verdict.FITS:
            return None
        failed = self.failed_program
        if failed is not None:
            return f"{named(failed.program)}: {shortened(failed.message)}"
        if self.refused is not None:
            return shortened(self.refused)
        return self.lost or self._overfull

    @property
    def pool_bytes(self) -> int | None:
        """HBM for KV pages, of one device; None where the engine would not make a pool."""
        return None if not self._has_pool else self.prepared.pages * self.prepared.page_bytes  # type: ignore[union-attr]

    @property
    def most_requests(self) -> int | None:
        """Requests of max_model_len that the pool holds at once, beside the null page."""
        return None if not self._has_pool else (self.prepared.pages - 1) // self.prepared.pages_per_request  # type: ignore[union-attr]

    @property
    def _has_pool(self) -> bool:
        return self.prepared is not None and self.prepared.pages > 0 and self.refused is None

    @property
    def hbm_left_bytes(self) -> int | None:
        """What the largest of these programs leaves of a device beside all weights and the pool; None where one does not compile."""
        if not self._has_pool or self.prepared is None or not self.programs or self.failed_program is not None:
            return None
        resident = self.prepared.weight_bytes + self.prepared.pages * self.prepared.page_bytes
        needed = (max(resident, program.argument_bytes) + program.own_bytes for program in self.programs)
        return self.prepared.usable_hbm_bytes - max(needed)

    def to_json(self) -> Json:
        engine, target, prepared = self.question.engine, self.question.target, self.prepared
        return {
            "accelerator": target.name,
            "chip": target.chip,
            "model": engine.model,
            "tensor_parallel_size": engine.tensor_parallel_size,
            "block_size": engine.block_size,
            "max_num_batched_tokens": engine.max_num_batched_tokens,
            "max_num_seqs": engine.max_num_seqs,
            "max_model_len": engine.max_model_len,
            "verdict": self.verdict.value,
            "failure": None if self.failure is None else self.failure.value,
            "memory_space": self.space,
            "kind": self.kind,
            "reason": self.reason,
            "usable_hbm_bytes": None if prepared is None else prepared.usable_hbm_bytes,
            "weight_bytes": None if prepared is None or not prepared.pages else prepared.weight_bytes,
            "page_bytes": None if prepared is None or not prepared.pages else prepared.page_bytes,
            "pages": prepared.pages if self._has_pool and prepared is not None else None,
            "pool_bytes": self.pool_bytes,
            "most_requests": self.most_requests,
            "hbm_left_bytes": self.hbm_left_bytes,
            "programs": [{**to_fields(program), "program": to_fields(program.program)} for program in self.programs],
            "seconds": round(self.seconds, 3),
            "kept": self.kept,
        }


def key_of(question: Json) -> str:
    """SHA-256 of all that an answer depends on, under which it is kept."""
    words = json.dumps({"format": FORMAT, **question}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(words.encode()).hexdigest()


def named(program: ProgramName) -> str:
    """A program for people: "a step of 2048 tokens"."""
    what = program.kind.replace("_", " ")
    return f"a step of {program.size} tokens" if program.kind == STEP else f"{what} for {program.size} requests"


def shortened(words: str) -> str:
    """A compiler's first sentences; what follows lists buffers."""
    plain = words.partition(" Program hbm requirement")[0]
    return plain if len(plain) <= _LONGEST_WORDS else plain[: _LONGEST_WORDS - 3] + "..."
