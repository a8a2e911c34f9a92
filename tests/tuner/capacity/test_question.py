"""What a recommended configuration needs of the environment is there, or is told."""

from __future__ import annotations

import pytest

from tuner.capacity.question import check_variables
from tuner.core.errors import BadInput
from tuner.core.factors import Factors

KERNEL, SEQS = "env:USE_BATCHED_RPA_KERNEL", ("max_num_seqs", 16)


def complaint(factors: Factors, environment: dict[str, str]) -> str:
    """ "" where there is none."""
    try:
        check_variables(factors, environment)
    except BadInput as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("factors", "environment", "message"),
    [
        (((KERNEL, "1"), SEQS), {}, "export USE_BATCHED_RPA_KERNEL=1 and run again"),
        (((KERNEL, "1"),), {"USE_BATCHED_RPA_KERNEL": "0"}, "was measured with USE_BATCHED_RPA_KERNEL 1, which is not so here"),
        (((KERNEL, "unset"),), {"USE_BATCHED_RPA_KERNEL": "1"}, "unset USE_BATCHED_RPA_KERNEL and run again"),
    ],
)
def test_a_recommendation_with_another_kernel_is_not_measured_without_it(
    factors: Factors, environment: dict[str, str], message: str
) -> None:
    assert message in complaint(factors, environment)


def test_what_is_set_as_it_was_measured_is_accepted() -> None:
    assert complaint(((KERNEL, "1"), SEQS), {"USE_BATCHED_RPA_KERNEL": "1"}) == ""
    assert complaint(((KERNEL, "unset"), SEQS), {}) == ""
    assert complaint((), {"USE_BATCHED_RPA_KERNEL": "1"}) == ""
