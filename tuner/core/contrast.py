"""Whose levels a study compares in pairs: one factor, in every cell of all the others. Pure.

What a comparison is stored under is its *place*: the cell of the level that is compared with the default one. So a factor with three
levels has two places in each cell of the others, and each is a cell of its own to the statistics, which correct for all of them. For page
alignment a place is the cell that both arms share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tuner.core.contract import ARM_DEFAULT
from tuner.core.factors import LIVE_FACTORS, LONG_PREFILL, Cell, Factors, Level, cell_of, factors_of, level_text

ARM, PAGE_SIZE, CHUNK_BUDGET = "arm", "block_size", "max_num_batched_tokens"
ENGINE_START = "engine start"
WORDS = {ARM: "page alignment", PAGE_SIZE: "page size", CHUNK_BUDGET: "chunk budget"}
_SPELLINGS = {
    **dict.fromkeys(("arm", "arms", "page_alignment", "page_aligned"), ARM),
    **dict.fromkeys(("page_size", "page_sizes", "block_size"), PAGE_SIZE),
    **dict.fromkeys(("chunk_budget", "chunk_budgets", "max_num_batched_tokens"), CHUNK_BUDGET),
}


class Coordinates(Protocol):
    """A configuration or a stored trial."""

    @property
    def block_size(self) -> int: ...
    @property
    def max_num_batched_tokens(self) -> int: ...
    @property
    def arm(self) -> str: ...
    @property
    def factors(self) -> Factors | Mapping[str, Level]: ...


@dataclass(frozen=True)
class Contrast:
    """The factor `name`, each of whose levels is compared with `baseline`. `in_turn`: over engine starts, though an engine could change
    it today; so did earlier versions with what became live later."""

    name: str = ARM
    baseline: Level = ARM_DEFAULT
    in_turn: bool = False

    @property
    def of_arms(self) -> bool:
        return self.name == ARM

    @property
    def cold(self) -> bool:
        """Whether each level has engines of its own, so that engine starts are what is compared."""
        return self.in_turn or self.name not in {ARM, CHUNK_BUDGET, *LIVE_FACTORS}

    @property
    def unit(self) -> str:
        """What a pair is made of."""
        return ENGINE_START if self.cold else "round"

    @property
    def noun(self) -> str:
        """The factor in words."""
        return WORDS.get(self.name, self.name)

    def level(self, item: Coordinates) -> Level:
        """Raises KeyError for a configuration that does not have the factor."""
        return self._levels(item)[self.name]

    def rest(self, item: Coordinates) -> tuple[tuple[str, Level], ...]:
        """All but the compared factor: what the two sides of a comparison share."""
        return tuple((name, level) for name, level in self._levels(item).items() if name != self.name)

    def place(self, candidate: Coordinates) -> Cell:
        """What the comparison of this configuration with the baseline level is stored under."""
        further = dict(candidate.factors)
        if not self.of_arms and candidate.arm != ARM_DEFAULT:
            further[ARM] = candidate.arm
        return cell_of(candidate.block_size, candidate.max_num_batched_tokens, factors_of(further))

    def words(self, level: Level | None = None) -> str:
        """For instance "max_num_seqs 64 instead of 256"; None: of several levels, "another max_num_seqs than 256"."""
        if self.of_arms:
            return "page-aligned scheduling"
        if level is None:
            return f"another {self.noun} than {level_text(self.baseline)}"
        return f"{self.noun} {level_text(level)} instead of {level_text(self.baseline)}"

    @property
    def baseline_words(self) -> str:
        return "the default" if self.of_arms else f"{self.noun} {level_text(self.baseline)}"

    @property
    def title(self) -> str:
        """Over a table or a picture of ratios."""
        return "page-aligned against default" if self.of_arms else f"{self.noun}, each against {self.baseline_words}"

    @staticmethod
    def _levels(item: Coordinates) -> dict[str, Level]:
        own: dict[str, Level] = {PAGE_SIZE: item.block_size, CHUNK_BUDGET: item.max_num_batched_tokens, ARM: item.arm}
        return {**own, **dict(sorted(dict(item.factors).items()))}


ALIGNMENT = Contrast()


def compared_name(text: str) -> str:
    """A factor as vLLM and the database spell it: page_size is block_size, page_alignment is arm."""
    return _SPELLINGS.get(text.strip().replace("-", "_"), text.strip())


def baseline_level(named: Sequence[Level], own: Level | None) -> Level:
    """vLLM's own level where it is among them, else the first that is named. Raises IndexError without a level."""
    return own if own is not None and own in named else named[0]


def contrast_of(name: str, baseline: Level | None, *, live: bool = False) -> Contrast:
    """Of a stored study, which names no baseline where the arms are compared. `live`: it says that its engines changed the factor."""
    return ALIGNMENT if name == ARM or baseline is None else Contrast(name, baseline, in_turn=name == LONG_PREFILL and not live)
