"""The evidence report: what was asked, how it was measured, what came out, what it does not mean. Pure.

Markdown for a pull request; tuner.evidence_html makes a page with charts of the same parts.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from storage.records import Comparison, Stage, TrialState
from tuner.compare import StudyComparison
from tuner.evidence import Evidence
from tuner.metric_catalog import metric_info

CELL_HEADERS = ("page size", "chunk budget", "aligned / default", "95 % interval", "pairs", "verdict")
QUESTION = (
    "Can page-aligned prefill scheduling (vLLM pull request 19878) just be turned on by default? This report answers it for the model, "
    "workload, settings and machine below, and no further."
)


def evidence_markdown(evidence: Evidence, comparison: StudyComparison) -> str:
    """Question, answer, method, environment, cells of every metric, failures, caveats, how to repeat."""
    study = evidence.study
    sections = [f"# Page-aligned scheduling: study {study.name}", QUESTION, "## Answer", answer_text(comparison)]
    sections += ["## Method", method_text(evidence), "## Environment", _table(("what", "value"), environment_rows(evidence))]
    for metric in dict.fromkeys(item.metric for item in comparison.comparisons):
        rows = [item for item in comparison.comparisons if item.metric == metric]
        info = metric_info(metric)
        better = "more is better" if info.direction.sign > 0 else "less is better"
        sections += [f"## {metric} ({info.unit}, {better})", _table(CELL_HEADERS, cell_rows(rows))]
        answer = comparison.answers.get(metric)
        if answer is not None:
            sections.append(answer.sentence)
    sections += ["## What failed", _bullets(failure_lines(evidence)), "## Caveats", _bullets(caveat_lines(comparison))]
    sections += ["## How to repeat", f"```\n{repeat_command(evidence)}\n```"]
    return "\n\n".join(sections) + "\n"


def answer_text(comparison: StudyComparison) -> str:
    answer = comparison.answer
    return f"**{answer.sentence}**" if answer is not None else "No cell was measured in both arms: no answer."


def method_text(evidence: Evidence) -> str:
    config = evidence.study.config
    rounds = config.get("rounds", {})
    count = str(rounds.get("max")) if rounds.get("min") == rounds.get("max") else f"{rounds.get('min')} to {rounds.get('max')}"
    return (
        "One engine per page size; all chunk budgets and both arms are live settings of that engine, measured in randomised interleaved "
        f"rounds ({count} windows per configuration, order from seed {config.get('seed')}). A pair is the same round in both arms, in the "
        "same running engine. The effect is the geometric mean of page_aligned / default over rounds; intervals are Student's t on the "
        "log-ratios, widened together over the cells (false coverage rate 5 %). A verdict needs the whole interval: equivalent lies "
        "within +-1 %, anything that contains both is inconclusive. Windows in which a program was compiled, and those that drifted "
        f"or are marked busy, never enter. Variant of the alignment rules: `{config.get('alignment_variant')}`."
    )


def environment_rows(evidence: Evidence) -> list[tuple[str, str]]:
    rows = [("model", evidence.study.model)]
    if evidence.environment is not None:
        environment = evidence.environment
        rows += [("accelerator", environment.accelerator), ("platform", environment.platform), ("devices", str(environment.device_count))]
        rows += [(name, str(version)) for name, version in sorted(environment.versions.items())]
    if evidence.workload is not None:
        rows += [("workload", f"{evidence.workload.name}, content {evidence.workload.content_hash[:12]}")]
        rows += [(f"workload {name}", str(value)) for name, value in evidence.workload.summary.items() if not isinstance(value, dict)]
    return rows


def cell_rows(rows: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """In the order of CELL_HEADERS."""
    return [
        (
            str(item.block_size),
            str(item.max_num_batched_tokens),
            _change(item.ratio),
            f"{_change(item.low)} to {_change(item.high)}" if item.low is not None else "",
            str(item.pairs),
            item.verdict,
        )
        for item in rows
    ]


def failure_lines(evidence: Evidence) -> list[str]:
    failed = [trial for trial in evidence.trials if trial.state is TrialState.FAIL]
    invalid = sum(not item.valid for item in evidence.measurements)
    lines = [
        f"trial {trial.number} ({trial.stage}, {trial.arm}, page size {trial.block_size}, budget {trial.max_num_batched_tokens}): "
        f"{trial.error_class}: {trial.error_message}"
        for trial in failed
    ]
    searched = sum(trial.stage is Stage.SEARCH for trial in evidence.trials)
    lines.append(f"{len(failed)} of {len(evidence.trials)} trials ({searched} search trials); {invalid} invalid windows, left out")
    return lines


def caveat_lines(comparison: StudyComparison) -> list[str]:
    caveats = list(comparison.answer.caveats) if comparison.answer is not None else []
    return caveats or ["none beyond the scope above"]


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def repeat_command(evidence: Evidence) -> str:
    """The command; settings that say only where things lie are left out."""
    config = evidence.study.config
    words = [
        f"--model {evidence.study.model}",
        "--study AGAIN",
        f"--page-sizes {','.join(map(str, config.get('page_sizes', [])))}",
        f"--chunk-budgets {','.join(map(str, config.get('chunk_budgets', [])))}",
        f"--arms {','.join(config.get('arms', []))}",
        f"--rounds {config.get('rounds', {}).get('min')}-{config.get('rounds', {}).get('max')}",
        f"--objective {evidence.study.objective}",
        f"--seed {config.get('seed')}",
    ]
    words += [f"--slo {shlex.quote(limit)}" for limit in config.get("slos", [])]
    words += [f"--alignment-variant {variant}" for variant in [config.get("alignment_variant")] if variant not in (None, "demote")]
    words += [f"--finalists-via {path}" for path in [config.get("finalists_via")] if path not in (None, "launcher")]
    if isinstance(config.get("workload"), str):
        words.append(f"--workload '{config['workload']}'")
    return "tuner search " + " \\\n  ".join(words)


def _change(ratio: float | None) -> str:
    return "" if ratio is None or not math.isfinite(ratio) else f"{100 * (ratio - 1):+.2f} %"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(headers), ["---"] * len(headers), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
