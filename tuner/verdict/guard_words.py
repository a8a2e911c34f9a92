"""What the guard on answers (tuner.trials.guard) says of a trial and of a study, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import Json, Trial
from tuner.core.errors import FailureClass
from tuner.core.numbers import number
from tuner.metrics.catalog import CANARY_DIVERGENCE, CANARY_MATCH

NOTE = "canaries"  # in a trial's notes
_CHECKED = "checked"
NOT_CHECKED: Json = {_CHECKED: False, "why": "this launcher generates nothing"}


def guard_note(trial: Trial) -> Json:
    """Empty where nothing is known: an earlier version, no guard, or a trial that never came so far."""
    found = trial.notes.get(NOTE)
    return found if isinstance(found, dict) else {}


def trial_answers(trial: Trial) -> str | None:
    """None where nothing is known, or where the trial's error says it."""
    note = guard_note(trial)
    if not note:
        return None
    if not note.get(_CHECKED):
        return f"not checked: {note.get('why', 'nobody asked')}"
    if CANARY_MATCH not in note:
        return f"agree with {note['against']}, of the same numerics; not compared with the baseline's"
    return (
        f"{CANARY_MATCH} {number(note[CANARY_MATCH])}, {CANARY_DIVERGENCE} {number(note[CANARY_DIVERGENCE])} nats against {note['against']}"
        f"{', other numerics' if 'numerics' in note else ''} ({note['prompts']} prompts, {number(note['seconds'], 2)} s)"
    )


def study_answers(trials: Sequence[Trial]) -> str | None:
    """One line; None for a study of an earlier version or without the guard."""
    notes = [note for trial in trials if (note := guard_note(trial))]
    wrong = [trial for trial in trials if trial.error_class == FailureClass.WRONG_OUTPUT]
    if not notes and not wrong:
        return None
    checked = [note for note in notes if note.get(_CHECKED)]
    if not checked and not wrong:
        return f"not checked: {notes[0].get('why', 'nobody asked')}"
    found = f"{len(checked)} of {len(trials)} trials answer canary prompts as they should"
    others = [note[CANARY_MATCH] for note in checked if "numerics" in note and CANARY_MATCH in note]
    if others:
        found += f", those of other numerics with a {CANARY_MATCH} of {number(min(others))} or more"
    return found + (f"; wrong: {', '.join(f'trial {trial.number}' for trial in wrong)}" if wrong else "")


def guard_caveat(trial: Trial) -> str | None:
    """What whoever takes this configuration has to know; None where its answers are the baseline's, or nothing is known."""
    note = guard_note(trial)
    if not note:
        return None
    if not note.get(_CHECKED):
        return f"its answers were not checked: {note.get('why', 'nobody asked')}"
    if "numerics" not in note:
        return None
    if CANARY_MATCH not in note:
        return "its numerics are not the baseline's, and their answers were not compared"
    return (
        f"its answers are not the baseline's: {CANARY_MATCH} {number(note[CANARY_MATCH])}, {CANARY_DIVERGENCE} "
        f"{number(note[CANARY_DIVERGENCE])} nats"
    )
