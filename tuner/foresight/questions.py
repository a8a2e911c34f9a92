"""Questions from a configuration: one for each page size and chunk budget on each TPU."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tuner.core.contract import ARM_DEFAULT, EngineSettings
from tuner.core.errors import BadInput
from tuner.foresight.question import Question
from tuner.foresight.target import Target, target_of
from tuner.setup.config import StudyConfig
from tuner.setup.feasibility import Needs, check
from tuner.setup.models import ResolvedModel, model_of_config, resolve_model
from tuner.setup.study_setup import MAX_DEFAULT_SEQS, shared_engine

DEFAULT_PAGE_SIZES = (16, 32, 64, 128, 256)


def foreseeable_model(name: str) -> ResolvedModel:
    """As `tuner search` takes it, or a file that holds its config.json. Raises BadInput."""
    path = Path(name).expanduser()
    return model_of_config(path) if path.is_file() else resolve_model(name)


def questions_of(config: StudyConfig, model: ResolvedModel, accelerators: Sequence[str]) -> list[Question]:
    """For every accelerator, page size and chunk budget, those that share most one after the other. max_model_len is the model's own where
    none is given. Raises BadInput for a setting that no engine takes, whatever the memory."""
    targets = [target_of(name, config.tensor_parallel_size) for name in accelerators]
    engine = shared_engine(
        config,
        model,
        max_num_seqs=config.max_num_seqs or min(MAX_DEFAULT_SEQS, *config.chunk_budgets),
        max_model_len=config.max_model_len or model.max_position,
    )
    found = []
    for target in targets:
        for page_size in config.page_sizes or DEFAULT_PAGE_SIZES:
            for budget in config.chunk_budgets:
                cold = engine.with_changes(block_size=page_size, max_num_batched_tokens=budget, platform="tpu")
                if refused := check(cold, model.features, None, Needs(1, (ARM_DEFAULT,))):
                    raise refused[0].as_error()
                found.append(question_of(cold, model, target))
    return found


def question_of(engine: EngineSettings, model: ResolvedModel, target: Target) -> Question:
    """Raises BadInput where the model's config.json cannot be read."""
    return Question(target, engine, model_hash(model))


def model_hash(model: ResolvedModel) -> str:
    """Of config.json, wherever it lies; of the name and the features where it is only in a Hugging Face cache. Raises BadInput."""
    if model.files:
        content = "".join(model.files.values()).encode()
    elif (file := Path(model.path) / "config.json").is_file():
        try:
            content = file.read_bytes()
        except OSError as error:
            raise BadInput(f"model {model.name!r}: {file} cannot be read: {error.strerror}") from error
    else:
        content = repr((model.name, sorted(model.features.items()))).encode()
    return hashlib.sha256(content).hexdigest()
