"""Which workloads a submission may name."""

from __future__ import annotations

import pytest

from tuner.fleet.allowed_workload import Extent, check_workload
from tuner.fleet.submitted_text import NotAllowed


@pytest.mark.parametrize(
    ("workload", "place"),
    [
        ("sessions:sessions=5,turns=2,input=8,output=4,rate=4", "kind"),
        ("sessions:sessions=5,turns=2,input=8,output=4,concurrency=4", "kind"),
        ("synthetic:input=8,output=4,requests=5,rate=4,ramp_to=1e-300", "ramp_to"),
        ("synthetic:input=8,output=4,requests=5,rate=4,ramp_to=1e300", "ramp_to"),
    ],
)
def test_what_is_not_taken_is_named_by_its_own_field(workload: str, place: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        check_workload(workload, frozenset(), Extent())
    assert refused.value.place[-1] == place
