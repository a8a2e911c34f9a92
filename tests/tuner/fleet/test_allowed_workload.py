"""Which workloads a submission may name."""

from __future__ import annotations

import pytest

from tuner.fleet.allowed_workload import Extent, check_workload
from tuner.fleet.submitted_text import NotAllowed


@pytest.mark.parametrize(
    ("workload", "place"),
    [
        ("sessions:sessions=50000,turns=2,input=8,output=4,rate=4", "sessions"),
        ("sessions:sessions=5,turns=1000000,input=8,output=4,rate=4", "sessions"),
        ("sessions:sessions=1,turns=2000,input=1000,output=4,rate=4", "turns"),
        ("sessions:sessions=1,turns=200,input=1000,output=4,rate=4", "source"),
        ("sessions:sessions=900,turns=2,input=8,output=4,shared_prefix=5000,rate=4", "source"),
        ("sessions:sessions=5,turns=2,input=8,output=4,rate=4,think_s=1e9", "think_s"),
        ("sessions:sessions=5,turns=2,input=lognormal:8:50:90,output=4,rate=4", "sigma"),
        ("synthetic:input=8,output=4,requests=5,rate=4,burst=1e300:30:5", "factor"),
        ("synthetic:input=8,output=4,requests=5,rate=4,burst=2:1e300:5", "every_s"),
        ("synthetic:input=8,output=4,requests=5,rate=4,burst=2:1e-9:1e-10", "every_s"),
        ("synthetic:input=8,output=4,requests=5,rate=4,burst=2:30:1e-300", "length_s"),
        ("synthetic:input=8,output=4,requests=5,rate=4,ramp_to=1e-300", "ramp_to"),
        ("synthetic:input=8,output=4,requests=5,rate=4,ramp_to=1e300", "ramp_to"),
    ],
)
def test_what_is_not_taken_is_named_by_its_own_field(workload: str, place: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        check_workload(workload, frozenset(), Extent())
    assert refused.value.place[-1] == place


def _mix(**changes: object) -> dict[str, object]:
    part = {"weight": 1.0, "input": {"kind": "fixed", "value": 64}, "output": {"kind": "fixed", "value": 8}}
    source = {"kind": "mix", "num_prompts": 20, "parts": [part, {**part, **changes}]}
    return {"source": source, "load": {"max_concurrency": 4}}


@pytest.mark.parametrize(
    ("workload", "place"),
    [
        (_mix(input={"kind": "fixed", "value": 2**21}), ("parts", 1, "input")),
        (_mix(input={"kind": "uniform", "low": 1, "high": 200_000}), ("parts", 1)),
        (_mix(prefix_groups=21), ("parts", 1, "prefix_groups")),
        ({**_mix(), "source": {**_mix()["source"], "num_prompts": 20_001}}, ("num_prompts",)),  # type: ignore[dict-item]
        ({**_mix(), "source": {**_mix()["source"], "parts": 40 * _mix()["source"]["parts"]}}, ("parts",)),  # type: ignore[dict-item,index]
    ],
)
def test_a_mix_is_bounded_part_by_part(workload: dict[str, object], place: tuple[str | int, ...]) -> None:
    with pytest.raises(NotAllowed) as refused:
        check_workload(workload, frozenset(), Extent())
    assert refused.value.place[-len(place) :] == place


@pytest.mark.parametrize(
    "workload",
    [
        "sessions:sessions=40,turns=1-6,input=32-128,output=16-32,shared_prefix=200,think_s=5,rate=4",
        "synthetic:input=8,output=4,requests=5,rate=4,burst=4:30:5",
        _mix(),
    ],
)
def test_what_can_be_held_is_taken(workload: str | dict[str, object]) -> None:
    check_workload(workload, frozenset(), Extent())
    with pytest.raises(NotAllowed):
        check_workload(workload, frozenset(), Extent(requests=4, tokens=20))
