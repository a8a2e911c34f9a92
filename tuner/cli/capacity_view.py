"""A capacity as text: the answer, the goodput curve, chips and cost."""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import CapacityWindow
from tuner.capacity.answer import CapacityAnswer, CurvePoint
from tuner.capacity.criteria import failed, from_json
from tuner.capacity.loads import RATE, LoadKind
from tuner.cli.tables import text_table
from tuner.core.numbers import number

BAR = 40  # characters of the longest bar
_LATENCIES = {"ttft_p50_ms": "TTFT p50 ms", "ttft_p99_ms": "TTFT p99 ms", "tpot_p50_ms": "TPOT p50 ms", "tpot_p99_ms": "TPOT p99 ms"}


def window_line(window: CapacityWindow, kind: LoadKind) -> str:
    """One line of progress."""
    load = kind.told(window.load)
    if window.invalid_reason is not None:
        return f"  {load}: not counted ({window.invalid_reason})"
    seen = [f"{title} {number(window.metrics[name], 3)}" for name, title in _LATENCIES.items() if name in window.metrics]
    why = window.details.get("stopped") or ", ".join(failed(from_json(window.readings)))
    said = "held" if window.held else f"did not hold ({why})"
    return f"  {load}: {said}" + (f"; {', '.join(seen)}" if seen else "")


def print_capacity(answer: CapacityAnswer, *, load: float | None, price: float | None) -> None:
    run, settings = answer.run, answer.run.requested
    accelerator = "no accelerator yet" if answer.environment is None else answer.environment.accelerator
    print(f"{run.model}, {answer.workload.name}, {accelerator} ({run.launcher})")
    sizes = f"page size {settings['block_size']}, chunk budget {settings['max_num_batched_tokens']}, {settings['arm']}"
    print(f"{sizes}, at most {settings['max_num_seqs']} requests at once\n")
    points = answer.curve()
    print(_table(points, answer.kind))
    print()
    print(chart(points, run.edge, answer.kind))
    print(f"\n{answer.sentence}")
    print(f"from {len(answer.windows)} windows; search {run.id}")
    if answer.hint:
        print(answer.hint)
    for line in consequences(answer, load=load, price=price):
        print(line)


def consequences(answer: CapacityAnswer, *, load: float | None, price: float | None) -> list[str]:
    """Chips and cost, a line each."""
    lines, unit = [], answer.kind.unit
    if load is not None:
        sizing = answer.sizing(load)
        if sizing is None:
            lines.append(f"chips for {number(load)} {unit}: not known, no {answer.kind.noun} is known to hold")
        else:
            least = "" if sizing.at_least in (None, sizing.chips) else f"; {sizing.at_least} at the interval's high end"
            engines = f"{sizing.engines} engine{'' if sizing.engines == 1 else 's'} of {answer.devices}"
            lines.append(f"chips for {number(load)} {unit}: {sizing.chips} ({engines}{least})")
    if price is not None:
        cost = answer.cost(price)
        if cost is None:
            lines.append("cost per million tokens: not known")
        else:
            span = "" if cost.low is None or cost.high is None else f" [{number(cost.low)}, {number(cost.high)}]"
            output = f"{number(cost.per_million_output_tokens)} if only output tokens count"
            lines.append(f"cost per million tokens: {number(cost.per_million_tokens)}{span}; {output} (at {number(price)} a chip-hour)")
    return lines


def _table(points: Sequence[CurvePoint], kind: LoadKind) -> str:
    rows = [
        [
            number(point.rate),
            f"{point.held} of {point.windows}",
            "" if point.goodput is None else number(point.goodput, 3),
            number(point.metrics.get("request_throughput"), 3),
            *(number(point.metrics.get(name), 3) for name in _LATENCIES),
        ]
        for point in points
    ]
    return text_table(["rate" if kind.open_loop else "at once", "held", "goodput", "served", *_LATENCIES.values()], rows)


def chart(points: Sequence[CurvePoint], edge: float | None, kind: LoadKind = RATE) -> str:
    """Bars of goodput by load; a line marks where the edge lies between two."""
    longest = max((point.goodput or 0.0 for point in points), default=0.0)
    scale = BAR / longest if longest > 0 else 0.0
    lines, marked = [f"goodput by {kind.noun}, requests/s"], edge is None
    for point in points:
        if not marked and edge is not None and point.rate > edge:
            lines.append(f"{'':>8}  {'- ' * (BAR // 2)}edge {number(edge)}")
            marked = True
        goodput = point.goodput
        bar = "unknown" if goodput is None else "#" * round(scale * goodput)
        lines.append(f"{number(point.rate):>8}  {bar}")
    return "\n".join(lines)
