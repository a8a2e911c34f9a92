"""What follows where nothing of a study could be measured, by the class that most of its trials failed with. Pure.

What another attempt may mend was tried again before that (tuner.trials.retry). `retry` says whether the operator should submit the study
once more, under another name, and where.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tuner.core.errors import FailureClass
from tuner.trials.retry import RULES


class Retry(StrEnum):
    NEVER = "no"
    SAME_HOST = "on the same host"
    ANOTHER_HOST = "on another host"


@dataclass(frozen=True)
class Policy:
    """`says`: what the operator reads, the end of a sentence."""

    retry: Retry
    says: str


POLICIES = {
    FailureClass.OUT_OF_MEMORY: Policy(Retry.ANOTHER_HOST, "require a machine with more memory, or ask for smaller page sizes and budgets"),
    FailureClass.TIMEOUT: Policy(Retry.SAME_HOST, "raise trial_timeout, and look in the engine's log for a hang"),
    FailureClass.ENGINE_CRASH: Policy(Retry.ANOTHER_HOST, "the engine's log says why; where another host measures it, look at this one"),
    FailureClass.STARTUP: Policy(Retry.ANOTHER_HOST, "run `tuner doctor` there: chips or ports may be held by another process"),
    FailureClass.INVALID_CONFIG: Policy(Retry.NEVER, "change the settings that the engine refuses"),
    FailureClass.REQUEST_FAILED: Policy(Retry.NEVER, "change the workload whose requests the engine refuses"),
    FailureClass.INVALID_MEASUREMENT: Policy(Retry.NEVER, "choose an objective that the windows of this launcher have"),
    FailureClass.WRONG_OUTPUT: Policy(Retry.NEVER, "this version's answers are wrong for this model: do not serve with it"),
    FailureClass.NO_SPACE: Policy(Retry.ANOTHER_HOST, "free space where logs and profiles go, or name another --logdir"),
    FailureClass.COMPILE_ERROR: Policy(Retry.NEVER, "change what the compiler refuses: page size, budget or versions"),
    FailureClass.IN_USE: Policy(Retry.SAME_HOST, "end the process that holds the chips or the port: its log names it"),
    FailureClass.INTERNAL: Policy(Retry.NEVER, "this is a fault of the tuner: report it with the engine's log"),
}


def why_nothing_was_measured(failures: Iterable[str | None], host: str) -> str:
    """One line. `failures`: the error class of each trial, None where it has none (it was skipped)."""
    counts = Counter(failures)
    named = [(count, name) for name, count in counts.items() if name in list(FailureClass)]
    if not named:
        return "no configuration could be measured; `tuner show` says why"
    count, name = max(named, key=lambda item: item[0])
    policy = POLICIES[FailureClass(str(name))]
    again = "" if policy.retry is Retry.NEVER else f"; then submit it again under another name, {policy.retry}"
    return f"no configuration could be measured: {count} of {counts.total()} trials failed on {host} with {name}; {policy.says}{again}"


def as_table() -> list[str]:
    """The rows of docs/fleet.md."""
    return [f"| `{failure}` | {RULES[failure]} | {policy.retry} | {policy.says} |" for failure, policy in POLICIES.items()]
