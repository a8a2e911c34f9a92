"""Page arithmetic of page-aligned prefill scheduling: pure, no vLLM.

The rules are those of vLLM pull request 19878 ("Add page-aligned prefill scheduling"). P is the page size, `left` what the step may still
be charged, both in tokens:

1. a segment of one token (a decode) is untouched and charged 1;
2. a segment that does not finish its prefill is floored to whole pages;
3. if the segment's size rounded up to whole pages exceeds `left`, scheduling of this loop stops;
4. a prefill segment is charged its size rounded up to whole pages.

Variant `strict` is that to the letter. It has two flaws, both shown by tests: rule 3 also hits a last segment, so one whose rounded size
exceeds the whole budget is never scheduled (P 128, budget 200, tail 150: a stall for ever); and rule 1 takes a *prefill* of which one token
fits (left == 1) for a decode, after which the request's later chunks start off the page boundary.

Variant `demote` (the default) fixes both: a last segment that does not fit is first demoted to the whole pages that do fit, a segment is a
decode only when one token is all that the request needs, and a request that gets nothing is skipped without stopping the loop. Every
request then finishes for every P <= budget.

Variant `fill_bucket` looks at what the device computes: each step is padded to the next compiled size ("bucket"), whatever its segments are
charged. It differs from `demote` in two rules. A segment is charged its tokens alone, so that a last one which fits is never cut for the
sake of its charge. And a segment that would lift the step's tokens above a bucket, by less than half of the way to the next, is cut to the
whole pages that still fit below it, if there are any: the rest comes with a later step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Variant(StrEnum):
    STRICT = "strict"
    DEMOTE = "demote"
    FILL_BUCKET = "fill_bucket"


@dataclass(frozen=True)
class Grant:
    """What one segment gets: `tokens` to schedule (0 = nothing), `charge` against the step's budget, and whether the loop stops here."""

    tokens: int
    charge: int
    stops_loop: bool = False


NOTHING = Grant(0, 0)


def round_up(tokens: int, page_size: int) -> int:
    """`tokens` rounded up to whole pages, in tokens."""
    return -(-tokens // page_size) * page_size


def round_down(tokens: int, page_size: int) -> int:
    """`tokens` rounded down to whole pages, in tokens."""
    return tokens // page_size * page_size


def check_page_size(page_size: int, budget: int) -> None:
    """Raise ValueError unless `page_size` is a power of two of at most `budget` tokens."""
    if page_size < 1 or page_size & (page_size - 1):
        raise ValueError(f"block_size must be a power of two, got {page_size}")
    if page_size > budget:
        raise ValueError(
            f"block_size {page_size} exceeds max_num_batched_tokens {budget}: no page fits a step; "
            "lower block_size or raise max_num_batched_tokens"
        )


def grant_strict(remaining: int, new_tokens: int, left: int, page_size: int) -> Grant:
    """Rules 1 to 4 to the letter.

    `remaining`: tokens the request still has to compute; `new_tokens`: how many of them the limits (threshold, budget, max_model_len) let
    through, 1 <= new_tokens <= min(remaining, left).
    """
    if new_tokens == 1:
        return Grant(1, 1)
    if new_tokens < remaining:
        new_tokens = round_down(new_tokens, page_size)
    charge = round_up(new_tokens, page_size)
    if charge > left:
        return Grant(0, 0, stops_loop=True)
    return Grant(new_tokens, charge)


def grant_demote(remaining: int, new_tokens: int, left: int, page_size: int) -> Grant:
    """The safe variant: same arguments as `grant_strict`."""
    if remaining == 1:
        return Grant(1, 1)
    if new_tokens < remaining or round_up(new_tokens, page_size) > left:
        new_tokens = round_down(new_tokens, page_size)
    return Grant(new_tokens, round_up(new_tokens, page_size))


def grant_fill_bucket(remaining: int, new_tokens: int, used: int, page_size: int, buckets: Sequence[int]) -> Grant:
    """Safe, and fills buckets. Arguments as of `grant_strict`; `used`: tokens that the step has already; `buckets`: ascending."""
    if remaining == 1:
        return Grant(1, 1)
    if new_tokens < remaining:
        new_tokens = round_down(new_tokens, page_size)
    total = used + new_tokens
    below = max((bucket for bucket in buckets if bucket < total), default=0)
    above = min((bucket for bucket in buckets if bucket >= total), default=total)
    fitting = round_down(max(0, below - used), page_size)
    if fitting and 2 * (total - below) < above - below:
        new_tokens = min(new_tokens, fitting)
    return Grant(new_tokens, new_tokens)


@dataclass
class StepLedger:
    """The charges of one scheduler step. `buckets`: the sizes that steps are padded to, ascending; only `fill_bucket` needs them."""

    page_size: int
    variant: Variant
    buckets: Sequence[int] = ()
    budget: int = 0
    left: int = 0
    running_stopped: bool = False
    waiting_stopped: bool = False

    def begin(self, budget: int) -> None:
        """Start a step with `budget` tokens."""
        self.budget = self.left = budget
        self.running_stopped = False
        self.waiting_stopped = False

    def grant(self, remaining: int, new_tokens: int, *, waiting: bool) -> int:
        """Tokens that a candidate of the RUNNING or WAITING loop gets; the charge is booked."""
        stopped = self.waiting_stopped if waiting else self.running_stopped
        new_tokens = min(new_tokens, self.left, remaining)
        if stopped or new_tokens <= 0:
            return 0
        got = self._grant(remaining, new_tokens)
        if got.stops_loop:
            if waiting:
                self.waiting_stopped = True
            else:
                self.running_stopped = True
        self.left -= got.charge
        return got.tokens

    def _grant(self, remaining: int, new_tokens: int) -> Grant:
        match self.variant:
            case Variant.STRICT:
                return grant_strict(remaining, new_tokens, self.left, self.page_size)
            case Variant.DEMOTE:
                return grant_demote(remaining, new_tokens, self.left, self.page_size)
            case Variant.FILL_BUCKET:
                return grant_fill_bucket(remaining, new_tokens, self.budget - self.left, self.page_size, self.buckets)
