"""The compiler as a rule of a search: asked about each engine before it is started (docs/feasibility.md)."""

from __future__ import annotations

from collections.abc import Callable

from storage.base import Storage
from tuner.core.contract import EngineSettings
from tuner.core.errors import BadInput, FailureClass
from tuner.foresight.check import Foresight
from tuner.foresight.compiler import Compiler
from tuner.foresight.installed import installed
from tuner.foresight.kept import KeptAnswers
from tuner.foresight.question import Foreseen, Verdict
from tuner.foresight.questions import question_of
from tuner.foresight.target import Target, target_of
from tuner.setup.config import StudyConfig
from tuner.setup.feasibility import Infeasible, Judged
from tuner.setup.hardware import Limits
from tuner.setup.models import ResolvedModel

_FIXES = {
    "smem": "use larger pages, or lower max_num_seqs or max_model_len",
    "hbm": "raise tensor_parallel_size, or lower max_model_len, max_num_seqs or chunk_budgets",
    "vmem": "use another page size",
    None: "drop that page size, or search with --no-foresight",
}


class CompilerJudge:
    """tuner.setup.study_setup.Judge. Compiles when it is first asked about an engine; one that fits answers for all that are the same but
    for a smaller chunk budget. To be put to `rest` at the end; may be asked again after that."""

    def __init__(self, target: Target, compiler: Compiler, foresight: Foresight) -> None:
        self._target = target
        self._compiler = compiler
        self._foresight = foresight
        self._fit: list[EngineSettings] = []

    def __call__(self, engine: EngineSettings, model: ResolvedModel) -> Judged | None:
        """None where the compiler does not know, or vLLM refuses a setting: then the engine's own start tells."""
        if any(_needs_no_more(engine, known) for known in self._fit):
            return Judged(None)
        model.prepare()
        (found,) = self._foresight.answer([question_of(engine, model, self._target)])
        if found.verdict is Verdict.NOT_KNOWN or found.prepared is None:
            return None
        if found.verdict is Verdict.FITS:
            self._fit.append(engine)
            return Judged(None)
        return Judged(infeasible(found))

    def rest(self) -> None:
        """End the processes, which may be a long time before the next question."""
        self._compiler.close()


def judge_for(
    config: StudyConfig, limits: Limits | None, say: Callable[[str], None], storage: Storage | None = None
) -> CompilerJudge | None:
    """The judge of a search that runs on this TPU (None: on none). Its answers are also kept in `storage`. Where it cannot be had, raises
    BadInput if `config.foresight` asks for it, else says so and returns None."""
    if limits is None:
        raise BadInput("needs a TPU here", setting="foresight", value="on:", fix="drop it; tuner foresee check compiles for any TPU")
    try:
        target = target_of(limits.name, config.tensor_parallel_size)
        known = installed(config.engine_python)
        kept = KeptAnswers(storage=storage)
    except BadInput as error:
        if config.foresight is None:
            say(f"warning: no foresight: {error}")
            return None
        raise error.about("foresight") from error
    compiler = Compiler(config.engine_python)
    return CompilerJudge(target, compiler, Foresight(compiler, kept, known, say))


def infeasible(found: Foreseen) -> Infeasible:
    """Why this engine is not started, in the compiler's words."""
    engine = found.question.engine
    fix = "change or drop that setting" if found.failure is FailureClass.INVALID_CONFIG else _FIXES[found.space]
    return Infeasible("page_sizes", f"{engine.block_size} does not run on {found.question.target.chip}: {found.kind}: {found.reason}", fix)


def _needs_no_more(engine: EngineSettings, known: EngineSettings) -> bool:
    """Whether `engine` is `known` with at most its chunk budget; our scheduler class makes no difference to the programs."""
    same = engine.with_changes(max_num_batched_tokens=known.max_num_batched_tokens, alignable=known.alignable)
    return same == known and engine.max_num_batched_tokens <= known.max_num_batched_tokens
