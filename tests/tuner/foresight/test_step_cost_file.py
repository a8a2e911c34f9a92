from __future__ import annotations

from pathlib import Path

import pytest

from tuner.core.errors import BadInput
from tuner.engine.step_costs import Point
from tuner.foresight.step_cost_file import read_step_costs


def _file(folder: Path, text: str) -> Path:
    path = folder / "steps.yaml"
    path.write_text(text)
    return path


def test_milliseconds_become_seconds_and_sizes_ascend(tmp_path: Path) -> None:
    found = read_step_costs(_file(tmp_path, "about: mine\npadded_ms: {2048: 61, 16: 11.5}\ndecode_ms: [0.5, 0, 0]\n"))
    assert found.padded == (Point(16, 0.0115), Point(2048, 0.061))
    assert found.decode == (0.0005, 0.0, 0.0)
    assert (found.low, found.high, found.step_noise) == (1.0, 1.0, ())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("about: mine\n", "padded_ms: field required"),
        ("padded_ms: {16: 1}\n", "about: field required"),
        ("about: mine\npadded_ms: {}\n", "padded_ms"),
        ("about: mine\npadded_ms: {16: 0}\n", "padded_ms.16"),
        ("about: mine\npadded_ms: {16: .nan}\n", "padded_ms.16"),
        ("about: mine\npadded_ms: {0: 1}\n", "padded_ms.0"),
        ("about: mine\npadded_ms: {16: 1}\ndecode_ms: [1, 2]\n", "decode_ms"),
        ("about: mine\npadded_ms: {16: 1}\nstep_noise: [-1]\n", "step_noise.0"),
        ("about: mine\npadded_ms: {16: 1}\nlow: 1.2\n", "low"),
        ("about: mine\npadded_ms: {16: 1}\nspeed: 3\n", "speed: extra inputs"),
        ("- 1\n", "padded_ms"),
    ],
)
def test_a_file_that_says_no_costs_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint) as caught:
        read_step_costs(_file(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "steps.yaml" in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"missing\.yaml"):
        read_step_costs(tmp_path / "missing.yaml")
