"""Charts of verdicts: every cell in the right place, told in words as well, nothing fetched from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from xml.etree import ElementTree

import pytest

from storage.records import Comparison
from tuner.report.figures import ALL_CELLS, COLOURS, forest_plot, heat_map
from tuner.stats.intervals import Verdict
from tuner.stats.pooling import PooledEffect

SVG = "{http://www.w3.org/2000/svg}"


def row(
    page: int, budget: int, verdict: str, ratio: float | None, half: float = 0.01, metric: str = "total_token_throughput", pairs: int = 6
) -> Comparison:
    low, high = (None, None) if ratio is None else (ratio - half, ratio + half)
    return Comparison(1, metric, page, budget, verdict, pairs, ratio=ratio, low=low, high=high)


CELLS = [
    row(16, 128, "better", 1.05),
    row(16, 256, "inconclusive", 1.02, 0.04),
    row(32, 128, "worse", 0.96),
    row(32, 256, "equivalent", 1.0, 0.005),
    row(64, 256, "inconclusive", None),
]


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def points(svg: str) -> list[tuple[float, float]]:
    """(x, y) of the plotted points, from the symbols' own group."""
    group = re.search(r'<g class="mark-symbol role-mark[^>]*>(.*?)</g>', svg)
    assert group is not None
    return [(float(x), float(y)) for x, y in re.findall(r'transform="translate\(([-\d.]+),([-\d.]+)\)"', group[1])]


def test_the_forest_plot_has_a_row_for_each_cell_and_a_point_where_it_was_measured() -> None:
    svg = forest_plot(list(reversed(CELLS)))
    found = texts(svg)
    assert [text for text in found if " x " in text and text[0].isdigit()] == ["16 x 128", "16 x 256", "32 x 128", "32 x 256", "64 x 256"]
    placed = points(svg)
    assert len(placed) == 4
    by_row = [x for x, _ in sorted(placed, key=lambda point: point[1])]
    assert by_row[2] < by_row[3] < by_row[1] < by_row[0]  # -4, 0, +2, +5 %
    assert by_row[3] == pytest.approx(230)  # no effect is the middle of 460
    assert (by_row[0] - 230) / (by_row[1] - 230) == pytest.approx(5 / 2)


def test_all_cells_together_are_the_last_row_of_the_forest_plot() -> None:
    pooled = PooledEffect(4, 24, 1.03, 1.02, 1.04, Verdict.BETTER, "random_effects")
    svg = forest_plot(CELLS, pooled)
    rows = [text for text in texts(svg) if (" x " in text and text[0].isdigit()) or text == ALL_CELLS]
    assert rows[-1] == ALL_CELLS and len(rows) == len(CELLS) + 1
    assert f"{ALL_CELLS}: +3.00 %, better" in svg
    lowest = max(points(svg), key=lambda point: point[1])
    highest = min(points(svg), key=lambda point: point[1])  # 16 x 128, +5 %
    assert (lowest[0] - 230) / (highest[0] - 230) == pytest.approx(3 / 5)


def test_a_less_is_better_metric_says_so_and_its_gain_is_the_drop() -> None:
    slower = [row(16, 128, "worse", 1.05, metric="ttft_p99_ms"), row(32, 128, "better", 0.95, metric="ttft_p99_ms")]
    assert any("less is better" in text for text in texts(forest_plot(slower)))
    faster = [row(16, 128, "worse", 0.95), row(32, 128, "better", 1.05)]
    assert re.findall(r'fill="(rgb[^"]*)"', heat_map(slower)) == re.findall(r'fill="(rgb[^"]*)"', heat_map(faster))


def test_the_heat_map_says_each_effect_and_verdict() -> None:
    found = texts(heat_map(CELLS))
    for words in ("+5.00 %", "+2.00 %", "-4.00 %", "+0.00 %", "no pair", "better", "worse", "equivalent"):
        assert words in found
    assert found.count("inconclusive") == 2


def test_a_cell_measured_in_two_environments_has_two_rows_and_one_square() -> None:
    twice = [row(16, 128, "better", 1.05, pairs=3), row(16, 128, "worse", 0.95, pairs=6)]
    assert "16 x 128 (2)" in texts(forest_plot(twice))
    assert "-5.00 %" in texts(heat_map(twice)) and "+5.00 %" not in texts(heat_map(twice))


@pytest.mark.parametrize("draw", [forest_plot, heat_map])
def test_a_chart_reads_aloud_follows_the_page_and_fetches_nothing(draw: Callable[[Sequence[Comparison]], str]) -> None:
    svg = draw(CELLS)
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert "page size 32, budget 128: -4.00 %, worse" in str(root.get("aria-label"))
    assert 'fill="currentColor"' in svg
    assert 'fill="#000"' not in svg
    assert not re.search(r"<(script|style|image|foreignObject|use)\b|url\(|href=", svg)


def test_every_verdict_has_its_own_colour() -> None:
    assert COLOURS.keys() == set(Verdict)
    assert len(set(COLOURS.values())) == len(Verdict)


def test_two_metrics_are_not_drawn_as_one() -> None:
    with pytest.raises(ValueError, match="one metric"):
        forest_plot([row(16, 128, "better", 1.05), row(16, 128, "better", 1.05, metric="mean_step_ms")])
