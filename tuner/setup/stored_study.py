"""The configuration that a stored study was begun with, typed: the one place that reads storage.records.Study.config. Pure.

A study of an earlier version lacks settings that came later and may have some that are gone: what is missing is None (or, on resuming,
the default, which is what that version did), what is unknown is left out. A value of the wrong type is damage, and is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import to_jsonable_python

from storage.records import Json, Study
from tuner.core.contrast import ALIGNMENT, ARM, Contrast, contrast_of
from tuner.core.errors import BadInput
from tuner.core.factors import Level
from tuner.metrics.objective import Slo, parse_slo
from tuner.setup.complaints import first_complaint
from tuner.setup.config import Rounds, StudyConfig, Words, parse_rounds

REVISION = "revision"  # in Study.model_features: the commit of a Hugging Face model's files
_RESOLVED = "resolved"  # key in Study.config beside the settings


def _stored_rounds(value: Any) -> Any:
    """Today's defaults are no answer here: how often a study's data were analysed decides its intervals."""
    rounds = None if value == {} else parse_rounds(value)
    if isinstance(rounds, dict) and not {"min", "max"} <= rounds.keys():
        raise ValueError(f"{rounds!r} lacks min or max")
    return rounds


class _Stored(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Resolved(_Stored):
    """What was decided at the beginning, where the configuration left it open or names a file."""

    max_model_len: int | None = None
    max_num_seqs: int | None = None
    workload_hash: str | None = None
    factor_defaults: dict[str, Level] = {}  # vLLM's own levels of the study's factors, as far as known
    compared_to: Level | None = None  # the level that the others of the compared factor are compared with
    compared_live: bool = False  # its engines change the compared factor; so said since long_prefill_token_threshold is live


class _Settings(_Stored):
    """Those settings that somebody reads of a stored study."""

    launcher: str | None = None
    table: str | None = None
    seed: int | None = None
    alignment_variant: str | None = None
    rounds: Annotated[Rounds | None, BeforeValidator(_stored_rounds)] = None
    compare: str = ARM
    slos: Words = ()
    workload: str | dict[str, Any] | None = None
    engine_args: dict[str, Any] = {}
    resolved: Resolved = Resolved()


@dataclass(frozen=True)
class StoredStudy:
    """`given`: every setting of today's StudyConfig that is stored, as JSON. The other fields are None where they are not stored."""

    name: str
    launcher: str | None
    table: str | None
    seed: int | None
    alignment_variant: str | None
    rounds: Rounds | None
    slo_texts: tuple[str, ...]
    workload: str | dict[str, Any] | None  # a workload written in the study file is a mapping
    resolved: Resolved
    given: Mapping[str, Any]
    contrast: Contrast = ALIGNMENT

    @classmethod
    def from_record(cls, study: Study) -> StoredStudy:
        """Raises BadInput naming the study and the setting that is damaged."""
        try:
            read = _Settings.model_validate(study.config)
        except ValidationError as error:
            raise _damaged(study.name, error) from error
        return cls(
            name=study.name,
            launcher=read.launcher,
            table=read.table,
            seed=read.seed,
            alignment_variant=read.alignment_variant,
            rounds=read.rounds,
            slo_texts=read.slos,
            workload=read.workload,
            resolved=read.resolved,
            contrast=contrast_of(read.compare, read.resolved.compared_to, live=read.resolved.compared_live),
            given={
                **{name: value for name, value in study.config.items() if name in StudyConfig.model_fields},
                **({} if read.rounds is None else {"rounds": read.rounds.model_dump()}),
                "study": study.name,
                "model": study.model,
                "objective": study.objective,
            },
        )

    @property
    def slos(self) -> tuple[Slo, ...]:
        """Raises BadInput for one that cannot be parsed."""
        return tuple(parse_slo(text) for text in self.slo_texts)

    def value(self, name: str) -> Any:
        """A setting as JSON; its default where it is not stored: an earlier version did what is now the default."""
        return self.given[name] if name in self.given else setting_default(name)

    def config(self, **changes: Any) -> StudyConfig:
        """All settings, with `changes` over them. Raises BadInput where one is damaged."""
        try:
            return StudyConfig.model_validate({**self.given, **changes})
        except ValidationError as error:
            raise _damaged(self.name, error) from error


def was_launched_by(study: Study, launcher: str) -> bool:
    """Whether the study's windows come from this launcher. False where its configuration is damaged: who looks for studies to learn from
    passes over those that cannot be read."""
    try:
        return StoredStudy.from_record(study).launcher == launcher
    except BadInput:
        return False


def stored_config(settings: Json, resolved: Resolved) -> Json:
    """What storage.records.Study.config holds, of StudyConfig.to_json()."""
    unused = {name for name in ("factor_defaults", "compared_to") if getattr(resolved, name) in ({}, None)}
    unused |= set() if resolved.compared_live else {"compared_live"}
    return {**settings, _RESOLVED: resolved.model_dump(mode="json", exclude=unused)}


def setting_default(name: str) -> Any:
    """The default of a setting, as JSON."""
    field = StudyConfig.model_fields[name]
    return None if field.is_required() else to_jsonable_python(field.get_default(call_default_factory=True))


def _damaged(name: str, error: ValidationError) -> BadInput:
    found = first_complaint(error)
    return BadInput(f"study {name!r}: its stored setting {found.key} is damaged, {found.text}; restore the database from a backup")
