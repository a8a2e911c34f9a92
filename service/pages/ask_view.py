"""The form of a question, what is wrong with it, and what its answer means. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from pydantic import ValidationError

from service.pages.next_step import NextStep
from service.schemas.recommendations import AnswerQuery, RecommendationQuery
from storage.records import Answerable
from tuner.core.errors import BadInput
from tuner.metrics.objective import DEFAULT_OBJECTIVE, objective_names, parse_objectives, parse_slo, request_limits
from tuner.setup.config import StudyConfig
from tuner.verdict.answer import STATUS_DEFAULT, STATUS_NONE, STATUS_PREDICTED, Answer
from tuner.workload.builtin import BUILTIN
from tuner.workload.inline import is_inline

MAIN = ("model", "accelerator", "workload", "objective", "slo", "accept")
_REPEATED = ("slo", "version")
_LABELS = {
    "device_count": "Devices",
    "input_tokens": "Prompt length, median tokens",
    "output_tokens": "Output length, median tokens",
    "request_rate": "Requests/s",
    "max_concurrency": "Requests at once",
    "prefix_share": "Prompt in a shared prefix, 0 to 1",
    "layers": "Layers",
    "hidden_size": "Hidden size",
    "heads": "Attention heads",
    "kv_heads": "KV heads",
    "head_size": "Head size",
    "attention": "Attention: full, sliding, mla or hybrid",
    "dtype": "dtype",
    "quantization": "Quantization, or none",
    "experts": "Experts, 0 for none",
    "experts_per_token": "Experts a token",
    "version": "Version in use, e.g. vllm=0.32.0",
    "max_age_days": "Trust evidence for days",
}
FURTHER = tuple(_LABELS)
_LENGTHS = ("input_tokens", "output_tokens")
_LOADS = ("request_rate", "max_concurrency")
_OWN_WORKLOAD = StudyConfig.model_fields["workload"].default
_SLO_EXAMPLES = ("ttft_p99_ms<=500", "tpot_p99_ms<=50", "e2el_p99_ms<=5000")
_LEAST_SLOS = 2  # fields


@dataclass(frozen=True)
class Field:
    """One field of the form, with what was typed and what is wrong with it."""

    name: str
    label: str
    value: str
    error: str


@dataclass(frozen=True)
class Question:
    """What was typed. `asked` is None where nothing was asked or something is wrong; `errors`: by field, "" for what belongs to none."""

    given: Mapping[str, Sequence[str]]
    asked: AnswerQuery | None = None
    errors: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> str:
        return next(iter(self.given.get(name, ())), "")

    @property
    def slos(self) -> Sequence[str]:
        """A value for each field: those that were given, one empty, and at least two."""
        found = list(self.given.get("slo", ()))
        return [*found, *[""] * max(1, _LEAST_SLOS - len(found))]

    @property
    def further(self) -> list[Field]:
        """Those that are folded away."""
        return [Field(name, label, self.value(name), self.errors.get(name, "")) for name, label in _LABELS.items()]

    @property
    def is_detailed(self) -> bool:
        return any(item.value or item.error for item in self.further)

    @property
    def query(self) -> str:
        """The same question for the API, and for whoever gets the page's address."""
        return urlencode([(name, value) for name, values in self.given.items() for value in values])


@dataclass(frozen=True)
class Choices:
    """What the fields suggest: what is stored, newest first, and names that are always there."""

    models: Sequence[str]
    accelerators: Sequence[str]
    workloads: Sequence[str]
    objectives: Sequence[str]
    slos: Sequence[str] = _SLO_EXAMPLES


def read(pairs: Sequence[tuple[str, str]]) -> Question:
    """From a form's fields; empty ones were left out by who asks."""
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        kept = re.sub(r"\s+", "", value) if name in _REPEATED else value.strip()
        if kept:
            given.setdefault(name, []).append(kept)
    if not given:
        return Question(given)
    twice = {name: "given more than once" for name, values in given.items() if len(values) > 1 and name not in _REPEATED}
    missing = {} if "model" in given else {"model": "name the model, as it is given to vllm serve"}
    plain = {"model": "?"} | {name: values if name in _REPEATED else values[0] for name, values in given.items()}
    found: AnswerQuery | None = None
    wrong: dict[str, str] = {}
    try:
        found = AnswerQuery.model_validate(plain)
    except ValidationError as error:
        wrong = {str(item["loc"][0]): str(item["msg"]) for item in reversed(error.errors())}
    errors = _placed({**wrong, **twice, **missing})
    return Question(given, None if errors else found, errors)


def choices(known: Sequence[Answerable]) -> Choices:
    return Choices(
        models=_each_once([item.model for item in known]),
        accelerators=_each_once([item.accelerator for item in known]),
        workloads=_each_once([*(item.workload for item in known), *BUILTIN]),
        objectives=_each_once([*objective_names(), *(item.objective for item in known)]),
    )


def address_of(item: Answerable) -> str:
    """Of the page that answers this question."""
    asked = {"model": item.model, "accelerator": item.accelerator, "workload": item.workload, "objective": item.objective}
    count = {} if item.accelerator.endswith(f"-{item.device_count}") or item.device_count == 1 else {"device_count": item.device_count}
    return f"/?{urlencode({**asked, **count})}"


def standing(answer: Answer) -> str:
    """How far the answer can be relied on, in a sentence."""
    kind = answer.match["kind"]
    if answer.status == STATUS_NONE:
        return "Measured for this question, and nothing can be recommended."
    if kind == "nearest":
        return f"Carried over from something near, {answer.match['distance']:.2f} away: measure before you rely on it."
    if answer.status == STATUS_PREDICTED:
        return "Simulated under predicted step times: no measurement stands behind this."
    if kind == "none":
        unpredicted = "" if answer.prediction is None else f", and there is no prediction: {answer.prediction.get('reason')}"
        return f"No measurement stands behind this{unpredicted}."
    windows = max((item.get("measurements", 0) for item in answer.expected.values()), default=0)
    stage = f" {answer.stage_in_words}" if answer.stage_in_words else ""
    counted = f"{windows} {'window' if windows == 1 else 'windows'}"
    return f"Measured for exactly this{stage}, {counted}; intervals are 95 %." if windows else "Measured for exactly this."


def next_steps(question: Question, answer: Answer) -> list[NextStep]:
    """None where the answer is what was asked for."""
    asked = question.asked
    if asked is None or (answer.match["kind"] == "exact" and answer.status != STATUS_NONE and not answer.stale["stale"]):
        return []
    steps = []
    exact = answer.match["kind"] == "exact"
    machine = asked.accelerator or (answer.scope.get("accelerator") if exact else None) or "the accelerator"
    if answer.status == STATUS_NONE and asked.slo:
        without = urlencode([(name, value) for name, values in question.given.items() if name != "slo" for value in values])
        steps.append(NextStep("See what was measured without the limits", address=f"/?{without}"))
    study = answer.evidence.get("study")
    if answer.status == STATUS_NONE and study:
        steps.append(NextStep(f"See what the study {study} measured, and why it recommends nothing", address=f"/studies/{study}"))
    if answer.status == STATUS_DEFAULT and answer.match["kind"] == "none":
        if asked.features() is None:
            steps.append(NextStep('Give the model\'s architecture under "Further details": what is near is looked for then'))
        if asked.accept is None:
            steps.append(
                NextStep("See whether a prediction is kept: simulated, not measured", address=f"/?{question.query}&accept=predicted")
            )
    open_parts = {"workload": (answer.scope.get("workload") or {}).get("name"), "objective": answer.objective} if exact else {}
    missing = {name: value for name, value in open_parts.items() if getattr(asked, name) is None}
    return [*steps, *_measuring(asked.model_copy(update=missing), machine)]


def _measuring(asked: RecommendationQuery, machine: str) -> list[NextStep]:
    """A search that is not refused, or why there is none."""
    slos = [parse_slo(text) for text in asked.slo]
    never = [reason for slo in slos if (reason := slo.never_met())]
    if never:
        return [NextStep(f"Ask for another limit: {'; '.join(never)}. No search can answer this")]
    try:
        request_limits(parse_objectives(asked.objective or DEFAULT_OBJECTIVE), slos)
    except BadInput as error:
        return [NextStep(f"Give a limit as SLO before it is measured: {error.complaint}")]
    if asked.workload is None or asked.workload in BUILTIN or is_inline(asked.workload):
        return [NextStep(f"Measure it on {machine}, then ask again", command=search_command(asked))]
    lengths = ", ".join(f'"{_LABELS[name]}"' for name in _LENGTHS)
    loads = " or ".join(f'"{_LABELS[name]}"' for name in _LOADS)
    described = asked.input_tokens is not None or asked.output_tokens is not None
    own = [] if described else [NextStep(f'Describe the workload under "Further details" instead: {lengths}, and {loads}')]
    elsewhere = f"for {asked.workload} give the search its file (--workload FILE)"
    words = f"Measure it on {machine} under {_OWN_WORKLOAD}, then ask for that one; {elsewhere}"
    return [*own, NextStep(words, command=search_command(asked.model_copy(update={"workload": None})))]


def search_command(asked: RecommendationQuery) -> str:
    """The search that answers this very question."""
    words = [f"--model {shlex.quote(asked.model)}", f"--study {study_name(asked.model, asked.workload)}"]
    if asked.workload is not None:
        words.append(f"--workload {shlex.quote(asked.workload)}")
    if asked.objective is not None and asked.objective != DEFAULT_OBJECTIVE:
        words.append(f"--objective {shlex.quote(asked.objective)}")
    words += [f"--slo {shlex.quote(limit)}" for limit in asked.slo]
    return " \\\n  ".join(["tuner search", *words]) + "\n"


def study_name(model: str, workload: str | None) -> str:
    """A name that `tuner search` takes, of the last part of the model's name and the workload."""
    words = "-".join(part for part in (model.rstrip("/").rpartition("/")[2], workload or "") if part)
    return re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-.")[:60] or "first"


def _placed(errors: Mapping[str, str]) -> dict[str, str]:
    """Errors of fields that there are not, together under ""."""
    known = {name: message for name, message in errors.items() if name in (*MAIN, *FURTHER)}
    strange = sorted(errors.keys() - known.keys())
    return known | ({"": f"there is no field {', '.join(name[:60] for name in strange)} in a question"} if strange else {})


def _each_once(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))
