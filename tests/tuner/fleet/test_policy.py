"""Each class of failure has a policy, the documentation says the same, and the reason names the class that most trials failed with."""

from __future__ import annotations

from pathlib import Path

from tuner.core.errors import FailureClass
from tuner.fleet.policy import POLICIES, as_table, why_nothing_was_measured

DOCS = Path(__file__).resolve().parents[3] / "docs" / "fleet.md"


def test_each_class_has_a_policy_and_the_documentation_says_the_same() -> None:
    assert set(POLICIES) == set(FailureClass)
    assert "\n".join(as_table()) in DOCS.read_text()


def test_the_class_of_most_trials_decides() -> None:
    reason = why_nothing_was_measured(["startup", "out_of_memory", "out_of_memory", None], "tpu-7")
    assert reason.startswith("no configuration could be measured: 2 of 4 trials failed on tpu-7 with out_of_memory; require a machine")
    assert reason.endswith("on another host")
    assert "again" not in why_nothing_was_measured(["invalid_config"], "tpu-7")


def test_skipped_trials_and_classes_of_a_newer_version_have_none() -> None:
    assert why_nothing_was_measured([None, "of_a_newer_version"], "h") == "no configuration could be measured; `tuner show` says why"
