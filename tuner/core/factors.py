"""Factors: settings under study beyond page size, chunk budget and arm. Pure; standard library only.

A factor has a name and levels. The name is vLLM's engine argument, or env:NAME for an environment variable of tpu-inference; a level is a
plain value, or UNSET where nothing is said and vLLM takes its own. The factors of one configuration are (name, level) pairs in the order of
their names; a *cell* is a page size, a chunk budget and, where there are any, the factors: what the two arms share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

type Level = str | int | float | bool
type Factors = tuple[tuple[str, Level], ...]
type Cell = tuple[int, int] | tuple[int, int, Factors]
"""Without factors it has two parts, as it had before there were any: it seeds the order of measurements, and is stored."""

type ArmCell = tuple[str, int, int] | tuple[str, int, int, Factors]
"""An arm and its cell: what is recommended."""

UNSET = "unset"
ENV = "env:"
ADDITIONAL = "additional_config."  # before a key of vLLM's additional_config, which tpu-inference reads; further dots go inside
MOST_SHOWN = 20  # levels in a line
LONG_PREFILL = "long_prefill_token_threshold"
LIVE_FACTORS = frozenset({"max_num_seqs", LONG_PREFILL})
"""An engine changes these between two windows, the first up to what it is compiled for."""


def factors_of(levels: Mapping[str, Level]) -> Factors:
    return tuple(sorted(levels.items()))


def cell_of(block_size: int, max_num_batched_tokens: int, factors: Factors = ()) -> Cell:
    return (block_size, max_num_batched_tokens, factors) if factors else (block_size, max_num_batched_tokens)


def factors_in(cell: Cell) -> Factors:
    return cell[2] if len(cell) == 3 else ()


def in_arm(arm: str, cell: Cell) -> ArmCell:
    return (arm, *cell[:2], cell[2]) if len(cell) == 3 else (arm, *cell)


def cold_factors(factors: Factors) -> Factors:
    """Those that need an engine of their own."""
    return tuple(item for item in factors if item[0] not in LIVE_FACTORS)


def in_order(factors: Factors) -> tuple[tuple[str, bool, Level], ...]:
    """A key to sort by: numbers by size and before words, which do not compare with them."""
    return tuple((name, isinstance(level, str), level) for name, level in factors)


def cell_in_order(cell: Cell) -> tuple[int, int, tuple[tuple[str, bool, Level], ...]]:
    """A key to sort cells by."""
    return cell[0], cell[1], in_order(factors_in(cell))


def level_text(level: object) -> str:
    return {True: "true", False: "false"}[level] if isinstance(level, bool) else str(level)


def levels_text(levels: Iterable[object]) -> str:
    """As --factor takes them."""
    texts = [level_text(level) for level in levels]
    commas = any("," in text for text in texts)
    return ("; " if commas else ",").join(texts) + (";" if commas and len(texts) == 1 else "")


def shortened(levels: Sequence[object]) -> str:
    """For people: the first and the last, where there are many."""
    if len(levels) <= MOST_SHOWN:
        return levels_text(levels)
    return f"{levels_text(levels[: MOST_SHOWN - 1])}, ... {level_text(levels[-1])} ({len(levels)} levels)"


def factor_words(factors: Iterable[tuple[str, object]]) -> str:
    """For instance "max_num_seqs 16, kv_cache_dtype fp8"; "" without any."""
    return ", ".join(f"{name} {level_text(level)}" for name, level in factors)


def further(factors: Mapping[str, object] | Factors) -> str:
    """What goes behind a page size and a chunk budget: ", max_num_seqs 16"; "" without factors."""
    words = factor_words(factors.items() if isinstance(factors, Mapping) else factors)
    return words and f", {words}"


def cell_words(cell: Cell) -> str:
    """For instance "page size 16, chunk budget 512, max_num_seqs 16"."""
    return f"page size {cell[0]}, chunk budget {cell[1]}{further(factors_in(cell))}"


def cell_label(cell: Cell) -> str:
    """For instance "16 x 512, max_num_seqs 16", with a multiplication sign."""
    return f"{cell[0]} \N{MULTIPLICATION SIGN} {cell[1]}{further(factors_in(cell))}"


def cell_json(cell: Cell) -> tuple[object, ...]:
    """(page size, chunk budget), and {factor: level} where there are any."""
    factors = factors_in(cell)
    return (*cell[:2], dict(factors)) if factors else cell


def cell_from_json(stored: Iterable[object]) -> Cell:
    """Inverse of cell_json."""
    page, budget, *rest = stored
    assert isinstance(page, int)
    assert isinstance(budget, int)
    return cell_of(page, budget, factors_of(rest[0]) if rest and isinstance(rest[0], Mapping) else ())
