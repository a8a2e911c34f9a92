"""`tuner show`: the studies, or one study's trials."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tuner.cli.options import examples, json_option, print_json, reading, required_study, storage_option, study_argument

if TYPE_CHECKING:
    from storage.base import Storage
    from storage.records import Profile, Study, Trial


@click.command(epilog=examples("tuner show", "tuner show first", "tuner show first --json"))
@study_argument(required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Studies to list at most.")
@click.option("--archived", is_flag=True, help="List the archived studies.")
@storage_option
@json_option
def show(study: str | None, limit: int, archived: bool, storage: str, as_json: bool) -> None:
    """List the studies, newest first, or show one STUDY with its trials and its answer."""
    with reading(storage) as opened:
        if study is None:
            _list(opened, limit, archived, as_json)
        else:
            _show(opened, required_study(opened, study), as_json)


def _list(storage: Storage, limit: int, archived: bool, as_json: bool) -> None:
    from tuner.cli.tables import text_table
    from tuner.report.report import study_json
    from tuner.search.life import life_json, life_of

    studies, total = storage.list_studies(archived=archived, limit=limit), storage.count_studies(archived=archived)
    others = 0 if archived else storage.count_studies(archived=True)
    counts = storage.count_trials_of([item.id for item in studies])
    lives = {item.id: life_of(storage, item) for item in studies}
    if as_json:
        trials = {item.id: {state.value: count for state, count in counts[item.id].items()} for item in studies}
        print_json(
            {"studies": [{**study_json(item), **life_json(lives[item.id]), "trials": trials[item.id]} for item in studies], "total": total}
        )
        return
    rows = [
        [
            item.name,
            item.state.value,
            item.model,
            item.objective,
            " ".join(f"{count} {state.value}" for state, count in counts[item.id].items() if count),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(item.created_at)),
        ]
        for item in studies
    ]
    nothing = "no archived study" if archived else "no study in lists" if others else "no study yet: see tuner search --help"
    print(text_table(("study", "state", "model", "objective", "trials", "created"), rows) if rows else nothing)
    for item in studies:
        if (life := lives[item.id]) is not None and life.note:
            print(f"study {item.name}: {life.note}")
    if total > len(studies):
        print(f"{len(studies)} of {total}; --limit shows more")
    if others:
        print(f"{others} archived; --archived lists them")


def _show(storage: Storage, study: Study, as_json: bool) -> None:
    from tuner.cli.tables import duration, text_table
    from tuner.report.by_setting import HEADERS, by_setting_rows, by_setting_text
    from tuner.report.report import answer_json, study_json, trial_json
    from tuner.search.life import life_json, life_of
    from tuner.verdict.conclude import compare_stored, default_settings, study_objectives, trials_and_windows
    from tuner.verdict.guard_words import study_answers
    from tuner.verdict.main_effects import main_effects
    from tuner.verdict.profile_sessions import TENSORBOARD, profile_json

    trials, measured = trials_and_windows(storage, study.id)
    profiles = storage.list_profiles(study_id=study.id)
    windows = {trial.id: 0 for trial in trials}
    invalid = dict(windows)
    for item in measured:
        windows[item.trial_id] += 1
        invalid[item.trial_id] += not item.valid
    life = life_of(storage, study)
    running = life is not None and not life.note  # looking early finds differences that are not there
    answer = None if running else compare_stored(storage, study).answer
    effects = [] if running else main_effects(study, trials, study_objectives(study)[0], default_settings(study))
    if as_json:
        runs = {trial.id: [profile_json(profile, TENSORBOARD) for profile in profiles if profile.trial_id == trial.id] for trial in trials}
        documents = [
            {**trial_json(trial), "measurements": windows[trial.id], "invalid_measurements": invalid[trial.id], "profiles": runs[trial.id]}
            for trial in trials
        ]
        document = {**study_json(study), **life_json(life), "config": study.config}
        by_setting = [item.to_json() for item in effects]
        print_json({"study": document, "answer": answer_json(answer), "effects": by_setting, "trials": documents})
        return
    print(f"study {study.name}: {study.state.value}, model {study.model}, objective {_objective(study.objective)}")
    if study.tags or study.archived_at is not None:
        print(
            ", ".join([*(["archived"] if study.archived_at is not None else []), *([f"tags {' '.join(study.tags)}"] if study.tags else [])])
        )
    if life is not None and life.note:
        print(life.note)
    spent = ", ".join(f"{name} {duration(float(seconds))}" for name, seconds in study.cost.items())
    print(f"{study.engine_starts} engine starts" + (f"; {spent}" if spent else ""))
    print(text_table(("trial", "stage", "arm", "page size", "budget", "state", "windows", "result"), _rows(trials, windows, invalid)))
    _print_links(trials, profiles)
    if (answers := study_answers(trials)) is not None:
        print(f"answers: {answers}")
    if answer is not None:
        print(f"answer: {answer.sentence}")
    if effects:
        print(f"\n{by_setting_text(effects, study_objectives(study)[0].metric)}")
        print(text_table(HEADERS, by_setting_rows(effects)))


def _objective(text: str) -> str:
    """With unit and direction: "throughput (total_token_throughput in tokens/s, more is better)"."""
    from tuner.metrics.catalog import Direction, metric_info
    from tuner.metrics.objective import parse_objectives

    parts = []
    for item in parse_objectives(text):
        better = "more" if item.direction is Direction.MAXIMIZE else "less"
        metric = "" if item.metric == item.name else f"{item.metric} "
        parts.append(f"{item.name} ({metric}in {metric_info(item.metric).unit}, {better} is better)")
    return ", ".join(parts)


def _print_links(trials: Sequence[Trial], profiles: Sequence[Profile]) -> None:
    from tuner.verdict.profile_sessions import TENSORBOARD, link, usable

    for trial in trials:
        for profile in usable([profile for profile in profiles if profile.trial_id == trial.id]):
            problems = ", ".join(profile.quality.get("problems", []))
            doubt = "" if profile.status == "ok" else f" ({profile.status}{': ' if problems else ''}{problems})"
            print(f"profile of trial {trial.number}, {profile.phase}{doubt}: {link(profile, TENSORBOARD)}")


def _rows(trials: Sequence[Trial], windows: dict[int, int], invalid: dict[int, int]) -> list[list[str]]:
    from tuner.core.factors import further
    from tuner.core.numbers import number
    from tuner.trials.retry import attempts_words
    from tuner.verdict.evidence import TWIN_OF

    rows = []
    for trial in trials:
        result = ", ".join(f"{name} {number(float(value))}" for name, value in (trial.values or {}).items())
        if trial.error_message:
            result = ": ".join(part for part in (trial.error_class, trial.error_message) if part)
        if words := attempts_words(trial.notes):
            result = f"{result} ({words})".strip()
        if trial.notes.get("feasible") is False:
            result += " (misses an SLO)"
        if TWIN_OF in trial.notes and trial.values is not None:
            result += f" (not measured: the same in effect as trial {trial.notes[TWIN_OF]})"
        count = str(windows[trial.id]) + (f" ({invalid[trial.id]} invalid)" if invalid[trial.id] else "")
        rows.append(
            [
                str(trial.number),
                trial.stage.value,
                trial.arm,
                str(trial.block_size),
                f"{trial.max_num_batched_tokens}{further(trial.factors)}",
                trial.state.value,
                count,
                result,
            ]
        )
    return rows
