"""Charts of verdicts as SVG text: forest plot and heat map. Comparisons in, one `<svg>` element out; nothing is read or written.

Lines and letters take the colour of the text around them (`currentColor`), so a chart inlined in a page follows its light or dark colours.
A verdict is told by colour, by shape and in words. Altair and vl-convert (extra: ui) are imported when a chart is drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from storage.records import Comparison
from tuner.core.errors import BadInput
from tuner.metrics.catalog import Direction, metric_info
from tuner.stats.intervals import EQUIVALENCE_RATIO, Verdict
from tuner.stats.pooling import PooledEffect

INK = "currentColor"
COLOURS = {Verdict.BETTER: "#0072b2", Verdict.WORSE: "#d55e00", Verdict.EQUIVALENT: "#6e7781", Verdict.INCONCLUSIVE: "#a6761d"}
SHAPES = {Verdict.BETTER: "circle", Verdict.WORSE: "square", Verdict.EQUIVALENT: "diamond", Verdict.INCONCLUSIVE: "triangle-up"}
BAND = "#8c959f"
WORSE_TO_BETTER = ["#f2a36b", "#f5f5f5", "#86bfe6"]  # pale enough for dark letters
NO_PAIR = "#e1e4e8"
CELL_INK = "#1f2328"
ROW_PX = 24
ALL_CELLS = "all cells"


def forest_plot(comparisons: Sequence[Comparison], pooled: PooledEffect | None = None, *, width: int = 460) -> str:
    """One row a cell: the effect of page alignment in percent with its interval, zero, and the band of practical equivalence.

    All `comparisons` are of one metric. `pooled`, of the same metric, is the last row, in bold. A cell without a ratio is named and stays
    empty. Raises BadInput where the extra `ui` is missing.
    """
    alt = _altair()
    rows = [*_named([_row(item) for item in _sorted(comparisons)]), *([_pooled_row(pooled)] if pooled is not None else [])]
    metric = _metric_of(comparisons)
    domain = alt.Scale(domain=[item.value for item in Verdict], range=[COLOURS[item] for item in Verdict])
    shapes = alt.Scale(domain=[item.value for item in Verdict], range=[SHAPES[item] for item in Verdict])
    order = [row["cell"] for row in rows]
    bold = alt.condition(f"datum.value == '{ALL_CELLS}'", alt.value("bold"), alt.value("normal"))
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("cell:N", sort=order, title="page x budget", scale=alt.Scale(domain=order), axis=alt.Axis(labelFontWeight=bold)),
        color=alt.Color("verdict:N", scale=domain, legend=alt.Legend(title="verdict", orient="bottom", symbolStrokeWidth=2)),
    )
    reach = _reach(rows)
    x = alt.X("effect:Q", title=f"{metric}, page-aligned against default, % ({_better(metric)})", scale=alt.Scale(domain=[-reach, reach]))
    limits = _percent(1 / EQUIVALENCE_RATIO), _percent(EQUIVALENCE_RATIO)
    band = alt.Chart(alt.Data(values=[{"low": max(limits[0], -reach), "high": min(limits[1], reach)}]))
    chart = alt.layer(
        band.mark_rect(color=BAND, opacity=0.22).encode(x="low:Q", x2="high:Q"),
        alt.Chart(alt.Data(values=[{"effect": 0}])).mark_rule(color=INK, strokeDash=[4, 3]).encode(x="effect:Q"),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=x, shape=alt.Shape("verdict:N", scale=shapes, legend=alt.Legend(title="verdict", orient="bottom"))
        ),
    ).properties(width=width, height=alt.Step(ROW_PX))
    together = f"; {ALL_CELLS}: {_change(pooled.ratio)}, {pooled.verdict}" if pooled is not None else ""
    return _svg(chart, _description("Forest plot", comparisons) + together)


def heat_map(comparisons: Sequence[Comparison], *, cell_px: int = 108) -> str:
    """Page sizes down, chunk budgets across; each cell says its effect and verdict, coloured by how much page alignment gains or loses.

    All `comparisons` are of one metric; where a cell is there twice (another environment), the one with more pairs is shown. Raises
    BadInput where the extra `ui` is missing.
    """
    alt = _altair()
    most = {(item.block_size, item.max_num_batched_tokens): item for item in sorted(comparisons, key=lambda item: item.pairs)}
    rows = [_row(item) for item in _sorted(list(most.values()))]
    reach = max((abs(row["gain"]) for row in rows if row["gain"] is not None), default=0.0) or 1.0
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("budget:O", title="chunk budget (tokens)", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("page:O", title="page size (tokens)", sort="descending"),
    )
    scale = alt.Scale(domain=[-reach, 0, reach], range=WORSE_TO_BETTER)
    chart = alt.layer(
        base.mark_rect(color=NO_PAIR, stroke=INK, strokeWidth=0.5),
        base.mark_rect(stroke=INK, strokeWidth=0.5).encode(color=alt.Color("gain:Q", scale=scale, legend=None)),  # not drawn without a gain
        base.mark_text(dy=-8, fontSize=13, fontWeight="bold", color=CELL_INK).encode(text="label:N"),
        base.mark_text(dy=9, fontSize=11, color=CELL_INK).encode(text="verdict:N"),
    ).properties(width=alt.Step(cell_px), height=alt.Step(54))
    return _svg(chart, _description("Heat map", comparisons))


def _row(item: Comparison) -> dict[str, Any]:
    effect, low, high = (None if value is None else _percent(value) for value in (item.ratio, item.low, item.high))
    sign = metric_info(item.metric).direction.sign
    return {
        "cell": f"{item.block_size} x {item.max_num_batched_tokens}",
        "page": item.block_size,
        "budget": item.max_num_batched_tokens,
        "effect": effect,
        "low": low,
        "high": high,
        "gain": None if effect is None else sign * effect,
        "verdict": item.verdict,
        "label": _change(item.ratio),
    }


def _pooled_row(pooled: PooledEffect) -> dict[str, Any]:
    ends = {"effect": _percent(pooled.ratio), "low": _percent(pooled.low), "high": _percent(pooled.high)}
    return {"cell": ALL_CELLS, "verdict": pooled.verdict.value, **ends}


def _change(ratio: float | None) -> str:
    return "no pair" if ratio is None else f"{_percent(ratio):+.2f} %"


def _named(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A cell that is there twice (another environment) gets rows of its own."""
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row["cell"]] += 1
        if seen[row["cell"]] > 1:
            row["cell"] += f" ({seen[row['cell']]})"
    return rows


def _sorted(comparisons: Sequence[Comparison]) -> list[Comparison]:
    return sorted(comparisons, key=lambda item: (item.block_size, item.max_num_batched_tokens))


def _reach(rows: Sequence[dict[str, Any]]) -> float:
    """Half the width of the axis: symmetric about no effect, so that a gain and a loss of one size look alike."""
    ends: list[float] = [abs(row[name]) for row in rows for name in ("effect", "low", "high") if row[name] is not None]
    return 1.08 * max([2 * _percent(EQUIVALENCE_RATIO), *ends])


def _percent(ratio: float) -> float:
    return 100 * (ratio - 1)


def _metric_of(comparisons: Sequence[Comparison]) -> str:
    metrics = {item.metric for item in comparisons}
    if len(metrics) != 1:
        raise ValueError(f"a chart shows one metric, got {sorted(metrics)}")
    return metrics.pop()


def _better(metric: str) -> str:
    return "more is better" if metric_info(metric).direction is Direction.MAXIMIZE else "less is better"


def _description(kind: str, comparisons: Sequence[Comparison]) -> str:
    """What a screen reader says: the numbers, not only that there is a picture."""
    metric = _metric_of(comparisons)
    cells = [
        f"page size {item.block_size}, budget {item.max_num_batched_tokens}: {_row(item)['label']}, {item.verdict}"
        for item in _sorted(comparisons)
    ]
    return f"{kind} of {metric}, page-aligned against default ({_better(metric)}). " + "; ".join(cells)


def _altair() -> Any:
    try:
        import altair
        import vl_convert  # noqa: F401  # draws without a browser
    except ImportError as error:
        raise BadInput(f"charts need the extra ui, {error.name} is not installed; pip install 'vllm-tpu-tuner[ui]'") from error
    return altair


def _svg(chart: Any, description: str) -> str:
    import vl_convert

    axis = {"labelColor": INK, "titleColor": INK, "domainColor": INK, "tickColor": INK, "gridColor": INK, "gridOpacity": 0.15}
    legend = {"labelColor": INK, "titleColor": INK}
    chart = chart.configure(background="transparent", font="system-ui, sans-serif").configure_axis(**axis, labelLimit=300)
    chart = chart.configure_legend(**legend).configure_view(stroke=None)
    svg: str = vl_convert.vegalite_to_svg(chart.to_json(), vl_version=_vega_lite_version())
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(description)}" ', 1)


def _vega_lite_version() -> str:
    """Altair's Vega-Lite as vl-convert names it: "5.20" of "v5.20.1"."""
    import altair

    return ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
