"""What the profiles of a study say about the KV write, and what they do not."""

from __future__ import annotations

from typing import Any

import pytest

from storage.records import Profile, TrialState
from tests.storage.builders import a_profile
from tests.tuner.evidence_builder import StudyBuilder
from tuner.report.evidence_report import evidence_markdown
from tuner.report.write_fraction import CLAIM, TRACED_LOOPS, write_fractions, write_lines
from tuner.verdict.compare import StudyComparison
from tuner.verdict.evidence import Evidence
from tuner.verdict.profile_sessions import BAD, OK


def a_phase_profile(trial_id: int, *, phase: str = "prefill", status: str = OK, host: str = "h", **fractions: float) -> Profile:
    fraction = {"kv_write": 0.0, "attention_fused_kv": 0.0, **fractions}
    return a_profile(trial_id, session=phase, host=host, phase=phase, status=status, summary={"phases": {phase: {"share": fraction}}})


def evidence_of(arms: dict[str, list[dict[str, Any]]], **changes: Any) -> Evidence:
    """A trial for each arm, with these profiles."""
    builder = StudyBuilder()
    profiles: list[Profile] = []
    for arm, phases in arms.items():
        trial = builder.trial(arm, **changes)
        profiles += [a_phase_profile(trial.id, **phase) for phase in phases]
    return builder.evidence(profiles=profiles)


def test_the_default_arms_fraction_is_the_bound() -> None:
    lines = write_lines(evidence_of({"default": [{"kv_write": 0.049}], "page_aligned": [{"kv_write": 0.02}]}))
    assert lines[0].endswith("default, page size 32, budget 256): 4.9 % of a prefill step")
    assert lines[1].endswith("page_aligned, page size 32, budget 256): 2 % of a prefill step")
    assert lines[2] == f"so writing the cache faster can gain at most 4.9 % of such a step here ({CLAIM})"


@pytest.mark.parametrize(
    "arms",
    [
        {"page_aligned": [{"kv_write": 0.02}]},  # the other arm's write is no bound
        {"default": [{"kv_write": 0.0}]},  # no write was seen: nobody knows where it is
        {"default": [{"kv_write": 0.01, "attention_fused_kv": 0.4}]},  # a part of the write may be in the kernel
    ],
)
def test_nothing_is_concluded_without_the_default_arms_own_write(arms: dict[str, list[dict[str, Any]]]) -> None:
    lines = write_lines(evidence_of(arms))
    assert len(lines) == 1 and "at most" not in lines[0]


def test_a_kernel_that_does_both_is_told() -> None:
    assert (
        "one kernel writes and attends (40 % of a prefill step)" in write_lines(evidence_of({"default": [{"attention_fused_kv": 0.4}]}))[0]
    )


def test_hosts_are_averaged_and_bad_profiles_other_phases_and_failed_trials_left_out() -> None:
    (found,) = write_fractions(evidence_of({"default": [{"kv_write": 0.02}, {"kv_write": 0.04, "host": "i"}]}))
    assert found.write == pytest.approx(0.03)
    assert write_fractions(evidence_of({"default": [{"kv_write": 0.02, "status": BAD}]})) == []
    assert write_lines(evidence_of({"default": [{"kv_write": 0.02, "phase": "decode"}]})) == []
    assert write_fractions(evidence_of({"default": [{"kv_write": 0.02}]}, state=TrialState.FAIL, error_class="timeout")) == []


def test_loop_control_is_no_part_of_the_step() -> None:
    """A fifth of the traced step is the tracer's: 4 % of the traced step are 5 % of one that is not traced."""
    (found,) = write_fractions(evidence_of({"default": [{"kv_write": 0.04, "loop_control": 0.2}]}))
    assert found.write == pytest.approx(0.05)


def test_traced_loops_are_told_beside_the_fractions() -> None:
    assert write_lines(evidence_of({"default": [{"kv_write": 0.04, "loop_control": 0.01}]}))[-1] == TRACED_LOOPS
    assert TRACED_LOOPS not in write_lines(evidence_of({"default": [{"kv_write": 0.04}]}))


def test_the_report_has_the_section_only_where_a_prefill_was_profiled() -> None:
    nothing = StudyComparison(())
    assert "## KV write in a prefill step" in evidence_markdown(evidence_of({"default": [{"kv_write": 0.02}]}), nothing)
    assert "## KV write" not in evidence_markdown(evidence_of({"default": []}), nothing)
