"""The table of what fits where, and what is asked of the compiler close to the limit; by a compiler that answers from a script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench import foresee_table
from bench.foresee_table import NEAR_THE_LIMIT, SAMPLE, Asked, around_the_limit, limits, question_of, table
from tests.shared_data import shared_data
from tests.tuner.foresight.questions import COMPILED, ONE_LAYER, PREPARED, ScriptedCompiler
from tuner.core.errors import FailureClass, TrialFailed
from tuner.foresight.check import Foresight
from tuner.foresight.kept import KeptAnswers
from tuner.foresight.messages import Compiled, Prepared, ProgramName
from tuner.foresight.question import Question

ASKED = Asked("small", "v6e", 64, 128)


class Chip(ScriptedCompiler):
    """Its compiler has room for `most` pages of PREPARED's size."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.pages = most, 0

    def prepare(self, question: Question, environment: Mapping[str, str] | None = None) -> Prepared:
        self.pages = question.engine.num_gpu_blocks or PREPARED.pages
        return replace(PREPARED, pages=self.pages, usable_hbm_bytes=1_000_000)

    def compile(self, program: ProgramName) -> Compiled:
        compiled = replace(COMPILED, program=program, argument_bytes=100 + 8 * self.pages)
        return compiled if self.pages <= self.most else replace(compiled, failure="out_of_memory", message="exhausted memory space=hbm")


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "Qwen--small_config.json").write_text(json.dumps(ONE_LAYER))
    return tmp_path


def foresight(folder: Path, compiler: ScriptedCompiler) -> Foresight:
    return Foresight(compiler, KeptAnswers(folder / "kept"), {"versions": {}}, lambda _line: None)


def test_a_row_says_what_fits_and_what_it_took(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(foresight(configs, ScriptedCompiler()), [ASKED], configs)
    assert "| small | v6e | 1 | 64 | 128 | fits | 0.00 | 0.00 | 0.00 | 5 | 1 | 4 | 0 | 0 |" in capsys.readouterr().out


def test_a_configuration_that_takes_too_long_misses_the_bar(
    configs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foresee_table, "MOST_S", 0.0)
    assert not table(foresight(configs, ScriptedCompiler()), [ASKED], configs)
    assert "(bar 0 s: MISSED); the second time" in capsys.readouterr().out


def test_what_is_not_kept_for_the_second_time_is_named(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = ScriptedCompiler(compiles=[TrialFailed(FailureClass.ENGINE_CRASH, "gone")])
    table(foresight(configs, lost), [ASKED], configs)
    assert f"compiled the second time as well: {ASKED}" in capsys.readouterr().out


def test_both_sides_of_the_limit_are_asked(configs: Path) -> None:
    limit = (1_000_000 - 100 - 50) // 8
    found = list(around_the_limit(foresight(configs, Chip(limit)), [ASKED], configs))
    assert [near.pages for near, _, _ in found] == pytest.approx([0.995 * limit, 1.005 * limit], abs=1)
    assert [fits for _, fits, _ in found] == [True, False]


@pytest.mark.parametrize(("off_by", "agrees"), [(0, True), (-2000, False), (2000, False)])
def test_a_compiler_that_sees_another_limit_is_a_contradiction(configs: Path, *, off_by: int, agrees: bool) -> None:
    limit = (1_000_000 - 100 - 50) // 8
    assert limits(foresight(configs, Chip(limit + off_by)), [ASKED], configs) is agrees


def test_the_sample_names_models_and_tpus_that_can_be_asked() -> None:
    configs = shared_data("configs")
    assert len(SAMPLE) >= 24 and 2 * len(NEAR_THE_LIMIT) >= 6
    assert len({str(question_of(asked, configs).key({})) for asked in SAMPLE}) == len(SAMPLE)
