"""Questions about small models that exist nowhere, and a compiler that answers from a script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.core.errors import TrialFailed
from tuner.foresight.compiler import Compiler
from tuner.foresight.dump import Dump
from tuner.foresight.messages import STEP, Compiled, Prepared, ProgramName
from tuner.foresight.question import Question
from tuner.foresight.questions import foreseeable_model, questions_of
from tuner.setup.config_file import load_config
from tuner.setup.models import TINY_QWEN3_CONFIG

ONE_LAYER: dict[str, Any] = {
    **TINY_QWEN3_CONFIG,
    "num_hidden_layers": 1,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
}


def questions_about(folder: Path, accelerators: str = "v6e-1", model: dict[str, Any] | None = None, **settings: Any) -> list[Question]:
    """About ONE_LAYER with the changes in `model`; `settings` are those of a study."""
    path = folder / "config.json"
    path.write_text(json.dumps({**ONE_LAYER, **(model or {})}))
    given = {"page_sizes": [64], "chunk_budgets": [128], "max_num_seqs": 16, "max_model_len": 2048, **settings}
    config = load_config(None, {"model": str(path), "study": "s", "arms": ["default"], **given})
    made = foreseeable_model(config.model)
    made.prepare()
    return questions_of(config, made, accelerators.split(","))


STEPS = (ProgramName(STEP, 16), ProgramName(STEP, 64), ProgramName(STEP, 128))
PREPARED = Prepared(
    "TPU v6 lite",
    1000,
    weight_bytes=100,
    page_bytes=8,
    pages=81,
    pages_per_request=16,
    utilization=0.92,
    programs=(*STEPS, ProgramName("compute_logits", 16)),
    decode_tokens=16,
    seconds=1.0,
)
COMPILED = Compiled(STEPS[0], argument_bytes=750, temporary_bytes=40, output_bytes=6, code_bytes=4, seconds=2.0)


class ScriptedCompiler(Compiler):
    """Starts nothing; notes what it is asked. `begun`: sizes of the programs of each `begin`. `prepares` and `compiles`: answers or
    failures, the last one for all that follow."""

    def __init__(self, prepares: list[Prepared | TrialFailed] | None = None, compiles: list[Compiled | TrialFailed] | None = None) -> None:
        self.asked: list[str] = []
        self.begun: list[list[int]] = []
        self.environments: list[dict[str, str]] = []
        self.dumped: list[tuple[bytes, str]] = []
        self._prepares = prepares or [PREPARED]
        self._compiles = compiles or [COMPILED]

    def prepare(self, question: Question, environment: Mapping[str, str] | None = None) -> Prepared:
        self.environments.append(dict(environment or {}))
        self.asked.append(f"prepare {question.engine.block_size} {question.engine.max_num_batched_tokens}")
        return _next(self._prepares)

    def begin(self, programs: Sequence[ProgramName]) -> None:
        self.begun.append([program.size for program in programs])

    def compile(self, program: ProgramName) -> Compiled:
        self.asked.append(f"{program.kind} {program.size}")
        return _next(self._compiles)

    def profile(self, program: ProgramName, module_path: Path, dump: Dump) -> Compiled:
        """`dumped`: for each profile the module, and the text of the bundle profile; "" writes none."""
        self.asked.append(f"profile {program.kind} {program.size}")
        with dump.watched(lambda: None):
            module, text = self.dumped.pop(0) if len(self.dumped) > 1 else self.dumped[0]
            module_path.write_bytes(module)
            if text:
                (dump.folder / "1-TLP-final-hlo-static-bundle-profile.txt").write_text(text)
            return _next(self._compiles)

    def end_engine(self) -> None:
        """Nothing was started."""

    def close(self) -> None:
        """Nothing was started."""


def _next[Answer](answers: list[Answer | TrialFailed]) -> Answer:
    found = answers.pop(0) if len(answers) > 1 else answers[0]
    if isinstance(found, TrialFailed):
        raise found
    return found
