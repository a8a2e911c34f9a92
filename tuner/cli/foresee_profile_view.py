"""Static profiles as text: categories, kernels, the costliest instructions; two side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner.cli.tables import text_table
from tuner.core.numbers import number, signed
from tuner.foresight.bundles import BUNDLES, COLUMNS, SCALAR, SPILLS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner.foresight.profile_difference import Difference, Pair
    from tuner.foresight.static_profile import Row, StaticProfile

_NOT_RUN = "static: nothing was run, and a loop's body counts once; cycles are the compiler's own estimate, which kernels have none of"
_LONGEST_NAME = 60


def print_profile(title: str, found: StaticProfile, ops: int) -> None:
    print(title)
    sums = found.categories()
    headers = ["category", "instructions", "GFLOP", "HBM MB", "cycles", "bundles", "scalar", "VMEM spills"]
    print(text_table(headers, [[name, *_cells(each)] for name, each in sums.items()]))
    _print_code(found)
    if ops:
        rows = sorted(found.rows, key=_cost, reverse=True)[:ops]
        table = [[_cut(row.name), row.category, *_row(row)] for row in rows]
        print(text_table(["instruction", "category", "GFLOP", "HBM MB", "cycles", "bundles"], table))
    print(f"temporary {_mb(found.temporary_bytes)} MB, code {_mb(found.code_bytes)} MB; {_NOT_RUN}\n")


def _print_code(found: StaticProfile) -> None:
    if not found.kernels:
        print("no kernel with code of its own")
        return
    headers = ["kernel", *COLUMNS.values()]
    print(text_table(headers, [[row.name, *(number(row.code.get(label, 0), 7) for label in COLUMNS)] for row in found.kernels]))


def print_difference(found: Difference) -> None:
    print("side by side (first, second, difference)")
    rows = [
        [name, what, *_change(one, other)]
        for name, (first, second) in found.categories.items()
        for what, one, other in _both(first, second)
        if one != other
    ]
    print(text_table(["category", "", "first", "second", "difference"], rows) if rows else "categories: no difference")
    for pair in found.pairs:
        _print_pair(pair)


def _print_pair(pair: Pair) -> None:
    print(f"\n{pair.kernel}: {pair.names[0] or 'none'} against {pair.names[1] or 'none'}")
    rows = [
        [header, *_change(pair.code[0].get(label, 0), pair.code[1].get(label, 0))]
        for label, header in COLUMNS.items()
        if pair.code[0].get(label, 0) != pair.code[1].get(label, 0)
    ]
    if rows:
        print(text_table(["", "first", "second", "difference"], rows))
    for reason in pair.reasons:
        print(f"  {reason}")


def _both(first: Mapping[str, Any], second: Mapping[str, Any]) -> Sequence[tuple[str, float, float]]:
    scales = (("GFLOP", "flops", 1e9), ("HBM MB", "hbm_bytes", 1e6), ("cycles", "cycles", 1.0))
    plain = [(what, first[key] / scale, second[key] / scale) for what, key, scale in scales]
    return [*plain, *((header, first["code"].get(label, 0), second["code"].get(label, 0)) for label, header in COLUMNS.items())]


def _change(one: float, other: float) -> list[str]:
    return [number(one, 6), number(other, 6), signed(other - one, 6)]


def _cells(sums: Mapping[str, Any]) -> list[str]:
    """Of a category; an asterisk where some instruction states none."""
    code = sums["code"]
    return [
        str(sums["instructions"]),
        number(sums["flops"] / 1e9, 4),
        _mb(sums["hbm_bytes"]) + ("*" if sums["without_bytes"] else ""),
        number(sums["cycles"], 9) + ("*" if sums["without_cycles"] else ""),
        *(number(code.get(label, 0), 7) for label in (BUNDLES, SCALAR, SPILLS)),
    ]


def _row(row: Row) -> list[str]:
    return [
        number(row.flops / 1e9, 4),
        "" if row.hbm_bytes is None else _mb(row.hbm_bytes),
        number(row.cycles, 9),
        number(row.code[BUNDLES], 7) if BUNDLES in row.code else "",
    ]


def _cost(row: Row) -> float:
    """Kernels first, since nobody estimates them; then by cycles."""
    return max(row.cycles or 0.0, 1e12 + row.code.get(BUNDLES, 0) if row.kernel and row.code else 0.0)


def _mb(size: float) -> str:
    return number(size / 1e6, 4)


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."
