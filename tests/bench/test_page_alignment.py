"""The arithmetic and the tables of the headline bench, on planted numbers."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from bench.lib.profiled_write import ProfiledWrite
from bench.page_alignment import PARTS, Key, print_effects, print_writes
from tuner.core.contract import ABLATION_ARM, ARM_PAGE_ALIGNED

STEP_MS, WRITE_MS = 20.0, {ABLATION_ARM: 1.0, ARM_PAGE_ALIGNED: 0.4}


def planted_write(noise: float = 0.02, rounds: int = 6) -> ProfiledWrite:
    rng = np.random.default_rng(1)

    def series(mean: float) -> dict[int, float]:
        return {number: mean * float(value) for number, value in enumerate(np.exp(noise * rng.standard_normal(rounds)))}

    step_ms = {arm: series(STEP_MS) for arm in WRITE_MS}
    return ProfiledWrite(step_ms, {arm: series(mean) for arm, mean in WRITE_MS.items()}, 0, 512.0)


@pytest.mark.parametrize(("name", "truth"), [("ceiling", 0.05), ("speedup", 0.4), ("saved", 0.03)])
def test_what_was_planted_in_the_profiles_is_covered(name: str, truth: float) -> None:
    centre, low, high = getattr(planted_write(), name)
    assert low < truth < high and low < centre < high
    assert high - low < 0.2 * truth


def test_a_write_that_costs_time_saves_less_than_nothing() -> None:
    found = planted_write()
    swapped = ProfiledWrite(
        found.step_ms, {ABLATION_ARM: found.write_ms[ARM_PAGE_ALIGNED], ARM_PAGE_ALIGNED: found.write_ms[ABLATION_ARM]}, 0, 1
    )
    assert swapped.saved[2] < 0 and swapped.speedup[1] > 1


def test_the_planted_part_gets_its_verdict_and_the_others_none(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(2)
    ratios: dict[Key, list[float]] = {}
    for page in (16, 64, 128):
        for part in PARTS:
            effect = math.log(0.9) if part == "scheduling" else 0.0
            ratios["bfloat16", page, 256, "tokens/s", part] = (effect + 0.03 * rng.standard_normal(20)).tolist()
    print_effects("tokens/s", ratios, {("bfloat16", page, 256): "45 / 46" for page in (16, 64, 128)})
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| bfloat16")]
    assert len(rows) == 4 and [cell.strip() for cell in rows[-1][:4]] == ["bfloat16", "all", "all", ""]
    for row in rows:
        assert "**worse**" in row[4] and row[4].strip().startswith("0.")
        assert "worse" not in row[5] + row[6] and "better" not in row[5] + row[6]


def test_fractions_are_printed_in_percent(capsys: pytest.CaptureFixture[str]) -> None:
    print_writes({("bfloat16", 16): planted_write()}, {("bfloat16", 16): "loop,scatter"})
    printed = capsys.readouterr().out
    [percent] = re.findall(r"\| bfloat16 \| 16 \| loop,scatter \| 512 \| (\d+\.\d+)", printed)
    assert float(percent) == pytest.approx(5.0, abs=0.15)
    assert "doubtful profiles: 0" in printed
