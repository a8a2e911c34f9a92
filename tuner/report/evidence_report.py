"""The evidence report: what was asked, how it was measured, what came out, what it does not mean. Pure.

Markdown for a pull request; tuner.report.evidence_html makes a page with charts of the same parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from storage.records import Comparison, Stage, Trial, TrialState
from tuner.core.contrast import Contrast
from tuner.core.factors import further
from tuner.core.numbers import change, number
from tuner.metrics.catalog import metric_info
from tuner.report.asked import cell_headers, effect_text, nothing_text, pair_text, question_text, report_title
from tuner.report.by_setting import HEADERS, HEADING, by_setting_rows, by_setting_text
from tuner.report.cell_why import WHY_HEADERS, WHY_HEADING, cause_of, cost_line, why_rows
from tuner.report.recommended import RECOMMENDED_HEADING, recommended_lines
from tuner.report.repeat import repeat_command
from tuner.report.report import first_metric
from tuner.report.write_fraction import write_lines
from tuner.setup.stored_study import StoredStudy
from tuner.trials.retry import attempts_words
from tuner.verdict.compare import StudyComparison
from tuner.verdict.compared import is_of_arms
from tuner.verdict.conclude import study_objectives
from tuner.verdict.evidence import HOST, PRIOR, Evidence
from tuner.verdict.guard_words import study_answers
from tuner.verdict.main_effects import MainEffect, main_effects

WRITE_HEADING = "KV write in a prefill step, from XLA profiles"


def evidence_markdown(evidence: Evidence, comparison: StudyComparison) -> str:
    """Question, answer, recommended settings, method, environment, cells of every metric, KV write, failures, caveats, how to repeat."""
    contrast = evidence.contrast
    sections = [f"# {report_title(contrast, evidence.study.name)}", question_text(contrast)]
    sections += ["## Answer", f"**{answer_text(comparison, contrast)}**"]
    sections += filter(None, [average_text(comparison)])
    recommended = recommended_lines(evidence)
    if recommended:
        sections += [f"## {RECOMMENDED_HEADING}", _bullets(recommended)]
    sections += ["## Method", method_text(evidence), "## Environment", _table(("what", "value"), environment_rows(evidence))]
    for metric in dict.fromkeys(item.metric for item in comparison.comparisons):
        rows = [item for item in comparison.comparisons if item.metric == metric]
        info = metric_info(metric)
        better = "more is better" if info.direction.sign > 0 else "less is better"
        sections += [f"## {metric} ({info.unit}, {better})", _table(cell_headers(contrast), cell_rows(rows))]
        sections += filter(None, [metric_text(comparison, metric)])
    effects = effects_by_setting(evidence)
    if effects:
        metric = study_objectives(evidence.study)[0].metric
        sections += [f"## {HEADING}", by_setting_text(effects, metric), _table(HEADERS, by_setting_rows(effects))]
    first = explained(comparison)
    if first:
        sections += [f"## {WHY_HEADING}", why_text(first), _table(WHY_HEADERS, why_rows(first))]
    written = write_lines(evidence)
    if written:
        sections += [f"## {WRITE_HEADING}", _bullets(written)]
    sections += [
        "## What failed",
        _bullets(failure_lines(evidence)),
        "## Caveats",
        _bullets([*host_lines(evidence), *caveat_lines(comparison)]),
    ]
    sections += ["## How to repeat", f"```\n{repeat_command(evidence)}\n```"]
    return "\n\n".join(sections) + "\n"


def answer_text(comparison: StudyComparison, contrast: Contrast) -> str:
    answer = comparison.answer
    return answer.sentence if answer is not None else nothing_text(contrast)


def effects_by_setting(evidence: Evidence) -> list[MainEffect]:
    return main_effects(evidence.study, evidence.trials, study_objectives(evidence.study)[0], evidence.defaults)


def explained(comparison: StudyComparison) -> list[Comparison]:
    """The first metric's cells, whose causes are told; none where another factor than the arm is compared, which no step explains."""
    return [item for item in first_metric(comparison.comparisons) if is_of_arms(item)]


_STEPS = (
    "Default / page_aligned, median over the paired windows. Padded tokens are what the device computes: each step is rounded up to a "
    "compiled size."
)


def why_text(rows: Sequence[Comparison]) -> str:
    """How to read the table of causes."""
    return " ".join(filter(None, [_STEPS, cost_line([cause_of(item) for item in rows])]))


def average_text(comparison: StudyComparison) -> str:
    """ "" without an average."""
    answer = comparison.answer
    return f"For comparison, and not the answer: {answer.average}." if answer is not None and answer.average else ""


def metric_text(comparison: StudyComparison, metric: str) -> str:
    """What a further metric says by itself; "" for the first, whose answer is the study's."""
    answer = comparison.answers.get(metric)
    return f"This metric alone: {answer.sentence}" if answer is not None and answer is not comparison.answer else ""


_ANSWER = (
    "What the answer says of cells holds together with 95 % confidence: of single cells by Holm's step-down over the cells, of all "
    "cells by an intersection-union test."
)
_VERDICT = (
    "A verdict needs the whole interval: equivalent lies within +-1 %, anything that contains both is inconclusive. Windows in which "
    "a program was compiled, and those that drifted or are marked busy, never enter."
)


_NO_ENGINE = {
    "table": "No engine ran: values were drawn from the table {}. ",
    "simulate": "No engine ran and nothing was measured: vLLM's scheduler was simulated under predicted step times. ",
}


def method_text(evidence: Evidence) -> str:
    variant = f"Variant of the alignment rules: `{StoredStudy.from_record(evidence.study).alignment_variant}`."
    parts = [
        _engines_text(evidence),
        _prior_text(evidence),
        effect_text(evidence.contrast),
        _interim_text(evidence),
        _VERDICT,
        _ANSWER,
        variant,
        _answers_text(evidence),
    ]
    return " ".join(filter(None, parts))


def _answers_text(evidence: Evidence) -> str:
    found = study_answers(evidence.trials)
    return "" if found is None else f"Answers: {found}."


def _prior_text(evidence: Evidence) -> str:
    """What the sampler knew before it measured, where foresight told it."""
    words = next((trial.notes[PRIOR] for trial in evidence.trials if trial.notes.get(PRIOR)), None)
    return "" if words is None else f"The sampler chose with a prior: {words}. No predicted value is among the results."


def _engines_text(evidence: Evidence) -> str:
    """How the windows were made: whether two arms could share an engine depends on the launcher."""
    stored = StoredStudy.from_record(evidence.study)
    rounds = stored.rounds
    count = "an unknown number of" if rounds is None else str(rounds.max) if rounds.min == rounds.max else f"{rounds.min} to {rounds.max}"
    many = f"{count} windows per configuration, order from seed {stored.seed}"
    if stored.launcher == "serve":
        return (
            f"Every configuration had a server of its own (`vllm serve`, loaded by `vllm bench serve`; {many}). A pair is the same round "
            "in both arms in the same running engine, so there is none here."
        )
    source = _NO_ENGINE.get(stored.launcher or "", "").format(stored.table)
    if evidence.contrast.cold and rounds is not None:
        many = f"{rounds.min} windows in each, order from seed {stored.seed}"
    return source + pair_text(evidence.contrast, many, stored.value("starts"))


def _interim_text(evidence: Evidence) -> str:
    interim = evidence.interim
    if interim is None or evidence.contrast.cold:
        return ""
    return (
        f"The data were analysed after each of the rounds {interim.first} to {interim.last}, and a cell that was decided or could hardly "
        "be decided any more got no further round; the intervals are corrected for that: all analyses together keep their confidence."
    )


def environment_rows(evidence: Evidence) -> list[tuple[str, str]]:
    rows = [("model", evidence.study.model)]
    if evidence.environment is not None:
        environment = evidence.environment
        rows += [("accelerator", environment.accelerator), ("platform", environment.platform), ("devices", str(environment.device_count))]
        rows += [(name, str(version)) for name, version in sorted(environment.versions.items())]
    if evidence.workload is not None:
        rows += [("workload", f"{evidence.workload.name}, content {evidence.workload.content_hash[:12]}")]
        summary = {name: value for name, value in evidence.workload.summary.items() if not isinstance(value, dict)}
        rows += [(f"workload {name}", number(value) if isinstance(value, float) else str(value)) for name, value in summary.items()]
    return rows


def cell_rows(rows: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """In the order of tuner.report.asked.cell_headers."""
    return [
        (
            str(item.block_size),
            f"{item.max_num_batched_tokens}{further(item.factors)}",
            change(item.ratio, 2),
            f"{change(item.low, 2)} to {change(item.high, 2)}" if item.low is not None else "",
            str(item.pairs),
            item.verdict,
        )
        for item in rows
    ]


def failure_lines(evidence: Evidence) -> list[str]:
    """A line that counts the trials without a value, one for each of them with its reason and for each that needed another attempt, and one
    for finalists that were not started."""
    failed = [trial for trial in evidence.trials if trial.state is TrialState.FAIL]
    pruned = [trial for trial in evidence.trials if trial.state is TrialState.PRUNED]
    again = [trial for trial in evidence.trials if trial not in (*failed, *pruned) and attempts_words(trial.notes)]
    invalid = sum(not item.valid for item in evidence.measurements)
    lines = [
        f"trial {trial.number} ({trial.stage}, {trial.arm}, page size {trial.block_size}, budget {trial.max_num_batched_tokens}"
        f"{further(trial.factors)}): " + _how_it_ended(trial)
        for trial in sorted((*failed, *pruned, *again), key=lambda trial: trial.number)
    ]
    searched = sum(trial.stage is Stage.SEARCH for trial in evidence.trials)
    not_run = f", {len(pruned)} skipped or given up" if pruned else ""
    lines.append(
        f"{len(failed)} of {len(evidence.trials)} trials ({searched} search trials) failed{not_run}; {invalid} invalid windows, left out"
    )
    return lines if evidence.unconfirmed is None else [*lines, evidence.unconfirmed]


def _how_it_ended(trial: Trial) -> str:
    reason = ": ".join(filter(None, (trial.error_class, trial.error_message))) or trial.state.value
    words = attempts_words(trial.notes)
    return f"{reason} ({words})" if words else reason


def caveat_lines(comparison: StudyComparison) -> list[str]:
    caveats = list(comparison.answer.notes) if comparison.answer is not None else []
    return caveats or ["none beyond the scope above"]


def host_lines(evidence: Evidence) -> list[str]:
    """Of each host in quarantine that measured a part of the study: what of it stands, and what may not."""
    measured = Counter(str(item.details.get(HOST, "")) for item in evidence.measurements)
    of_all = sum(measured.values())
    return [
        f"{measured[host]} of {of_all} windows were measured on {host}, which is in quarantine ({reason}): verdicts on pairs keep them, "
        "because a pair is one engine on one host; values of configurations that other hosts measured do not compare with those"
        for host, reason in sorted(evidence.quarantined.items())
        if measured[host]
    ]


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(headers), ["---"] * len(headers), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
