"""What to do where a page shows less than a reader hoped for. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from storage.records import Study, StudyState, TrialState
from tuner.core.errors import BadInput
from tuner.report.repeat import resume_command, search_again
from tuner.search.life import Life


@dataclass(frozen=True)
class NextStep:
    """In words, with a command to copy or a page to open."""

    words: str
    command: str = ""
    address: str = ""


@dataclass(frozen=True)
class Badge:
    """A study's state as it is drawn. `css`: the class that gives it its colour."""

    word: str
    css: str


def study_badge(study: Study, counts: Mapping[TrialState, int], life: Life | None) -> Badge:
    """Green means that something was measured to the end: never a study whose trials all failed."""
    if study.state is StudyState.RUNNING and (life is None or life.note):
        return Badge("no sign of life", "interrupted")
    if study.state is not StudyState.COMPLETE or counts[TrialState.COMPLETE]:
        return Badge({StudyState.FAIL: "failed"}.get(study.state, study.state.value.lower()), study.state.value.lower())
    return Badge("nothing measured", "fail") if sum(counts.values()) else Badge("empty", "waiting")


def study_steps(study: Study, counts: Mapping[TrialState, int], life: Life | None) -> list[NextStep]:
    """For a study that was interrupted, killed, failed or measured nothing; none while it runs, and none where it is damaged."""
    if life is not None and not life.note:
        return []
    begun = study.state in (StudyState.INTERRUPTED, StudyState.RUNNING)
    if study.state is StudyState.COMPLETE and counts[TrialState.COMPLETE]:
        return []
    try:
        if begun:
            return [NextStep("Go on with it on its machine; what was measured stays", command=resume_command(study))]
        found = [NextStep("See what this machine can do with the model", command=f"tuner doctor --model {shlex.quote(study.model)}")]
        if study.state is StudyState.FAIL:
            return [*found, NextStep("Go on with it", command=resume_command(study))]
        return [*found, NextStep("Search again under another name", command=search_again(study, f"{study.name}-again"))]
    except BadInput:
        return []
