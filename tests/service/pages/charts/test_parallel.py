"""Parallel coordinates of a study with many settings."""

from __future__ import annotations

from itertools import product

import pytest

from service.pages.charts.parallel import parallel
from service.pages.parallel_view import Parallel, parallel_of
from storage.records import Trial, TrialState
from tests.storage.builders import a_trial
from tests.tuner.report.charts.drawings import links, texts
from tuner.core.factors import ArmCell
from tuner.metrics.objective import parse_objectives
from tuner.report.charts.render import Renderer
from tuner.report.charts.theme import Look, Scheme, Size

PLACE: ArmCell = ("default", 32, 256, (("kv_cache_dtype", "fp8"), ("max_num_seqs", 16)))
(THROUGHPUT,) = parse_objectives("throughput")


def trials() -> list[Trial]:
    """16 of them, worth 100, 101, ... in order; one failed, and one has no value."""
    made = []
    for number, (page, budget, seqs, dtype) in enumerate(product((16, 32), (128, 256), (8, 16), ("auto", "fp8"))):
        state, values = (TrialState.FAIL, None) if number == 0 else (TrialState.COMPLETE, {"throughput": 100.0 + number})
        factors = {"max_num_seqs": seqs, "kv_cache_dtype": dtype}
        place = {"block_size": page, "max_num_batched_tokens": budget, "arm": "default", "factors": factors}
        made.append(a_trial(1, number, id=number + 1, state=state, values=values, **place))
    return made


def found(count: int = 16) -> Parallel:
    made = parallel_of(trials()[:count], THROUGHPUT, PLACE)
    assert made is not None
    return made


def test_lines_of_what_completed_over_what_varies() -> None:
    made = found()
    assert [(axis.name, axis.levels) for axis in made.axes] == [
        ("block_size", (16, 32)),
        ("max_num_batched_tokens", (128, 256)),
        ("kv_cache_dtype", ("auto", "fp8")),
        ("max_num_seqs", (8, 16)),
    ]
    assert [line.value for line in made.lines] == [101.0 + number for number in range(15)], "the best drawn last"
    assert [line.levels for line in made.lines if line.winner] == [(32, 256, "fp8", 16)]
    assert made.axes[3].height(8) == 0 and made.axes[3].height(16) == 1


def test_few_settings_have_no_such_picture() -> None:
    assert parallel_of(trials()[:8], THROUGHPUT, None) is None, "one page size: three settings vary"
    assert parallel_of([], THROUGHPUT, None) is None


@pytest.mark.slow
def test_every_line_is_a_link_that_says_all_its_settings() -> None:
    for look in (Look(), Look(Scheme.DARK, Size.NARROW)):
        made = parallel(found(), "total_token_throughput", "tokens/s", False, look)
        picture = Renderer().picture(made, "title", "description")
        said = links(picture)
        assert len(said) == 15
        assert said["/trials/16"] == (
            "trial 15, page size 32, chunk budget 256, kv_cache_dtype fp8, max_num_seqs 16: 115 tokens/s, recommended"
        )
        words = texts(picture)
        assert {"page size", "chunk budget", "kv_cache_dtype", "max_num_seqs", "total_token_throughput"} <= set(words)
        assert {"auto", "fp8", "128", "256", "101", "115"} <= set(words) and "tokens/s" in words
