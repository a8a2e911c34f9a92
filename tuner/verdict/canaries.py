"""Do two engines answer canary prompts alike? Pure.

Rounding depends on the shapes of a batch, so log-probabilities of right engines differ a little, and a greedy choice between two tokens
that are as good as equal may fall either way. How much is a little is measured: `tolerance_of`. After the first token that differs, two
answers go on from different texts, so nothing behind it is compared. docs/guard.md has the rule and what it rests on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from storage.records import Json
from tuner.core.contract import Answered
from tuner.core.numbers import number

NOISES, UNITS = 4.0, 3.0  # of one engine, and of its logits' last place: more is no rounding any more
FLOAT32_UNITS = 128 * 2.0**-23  # of rounding that a log-softmax in float32 may add, times its size
FINEST = 17  # units of logits are looked for from 1 down to 2**-17
_WHOLE = 0.02  # of a unit: how far from a multiple the float32 log-softmax may leave a difference


@dataclass(frozen=True)
class Reference:
    """What others are compared with. `name`: which engine answered; `plan`: the prompts' content hash."""

    name: str
    plan: str
    answers: tuple[Answered, ...]
    tolerance: float

    def to_json(self) -> Json:
        answers = [[item.request_id, item.ids, [[round(value, 7) for value in row] for row in item.logprobs]] for item in self.answers]
        return {"name": self.name, "plan": self.plan, "tolerance": self.tolerance, "answers": answers}

    @classmethod
    def from_json(cls, stored: Json) -> Reference:
        answers = tuple(Answered(name, tuple(map(tuple, ids)), tuple(map(tuple, rows))) for name, ids, rows in stored["answers"])
        return cls(str(stored["name"]), str(stored["plan"]), answers, float(stored["tolerance"]))


@dataclass(frozen=True)
class Agreement:
    """Of `compared` positions, reached with the same text, `equal` have the same token. `moved`: how far the log-probability of each
    position's tokens moved at most, in nats; `divergence`: the mean over positions of the expected token's. `fault`: the first position
    beyond the tolerance, in words; None where there is none."""

    compared: int
    equal: int
    divergence: float
    moved: float
    fault: str | None

    @property
    def match(self) -> float:
        return self.equal / self.compared


@dataclass(frozen=True)
class _Position:
    """One output token of one prompt in two answers: token -> log-probability, the generated token first."""

    where: str
    expected: Mapping[int, float]
    got: Mapping[int, float]

    @property
    def tokens(self) -> tuple[int, int]:
        return next(iter(self.expected)), next(iter(self.got))

    @property
    def moved_expected(self) -> float:
        """Of the expected token; where the other engine does not name it among its best, at least this."""
        token = self.tokens[0]
        return abs(self.expected[token] - self.got.get(token, min(self.got.values())))

    @property
    def moved(self) -> float:
        """Of any token that both name, or of the expected one."""
        return max(self.moved_expected, *(abs(value - self.got[token]) for token, value in self.expected.items() if token in self.got), 0.0)

    @property
    def margin(self) -> float:
        """By how much the expected token was likelier than the one that came, as far as the reference names that."""
        expected, got = self.tokens
        return self.expected[expected] - self.expected.get(got, min(self.expected.values()))

    def fault(self, tolerance: float) -> str | None:
        expected, got = self.tokens
        if expected != got and (self.margin > 2 * tolerance or self.moved_expected > tolerance):
            return (
                f"{self.where}: expected {expected}, got {got}, which is {number(self.margin)} nats less likely "
                f"(a tie is within {number(2 * tolerance)})"
            )
        if self.moved > tolerance:
            moved = f"log-probabilities moved by {number(self.moved)} (tolerance {number(tolerance)})"
            return f"{self.where}: expected {expected} and got it, but {moved}"
        return None


def agreement(expected: Sequence[Answered], got: Sequence[Answered], tolerance: float = math.inf) -> Agreement:
    """Of two engines' answers to the same prompts; without a tolerance nothing is a fault but a missing answer."""
    others = {item.request_id: item for item in got}
    positions: list[_Position] = []
    fault: str | None = None
    for item in expected:
        other = others.get(item.request_id)
        if other is None or len(other.ids) != len(item.ids):
            fault = fault or f"prompt {item.request_id}: {len(other.ids) if other else 0} of {len(item.ids)} tokens came"
        if other is not None:
            positions += _same_text(item, other)
    if not positions:
        return Agreement(1, 0, math.inf, math.inf, fault or "nothing was answered")
    fault = fault or next(filter(None, (position.fault(tolerance) for position in positions)), None)
    return Agreement(
        compared=len(positions),
        equal=sum(position.tokens[0] == position.tokens[1] for position in positions),
        divergence=sum(position.moved_expected for position in positions) / len(positions),
        moved=max(position.moved for position in positions),
        fault=fault,
    )


def _same_text(expected: Answered, got: Answered) -> Iterator[_Position]:
    """Positions up to and with the first token that differs."""
    for index, (ids, values, other_ids, others) in enumerate(
        zip(expected.ids, expected.logprobs, got.ids, got.logprobs, strict=False), start=1
    ):
        yield _Position(
            f"prompt {expected.request_id}, output token {index}",
            dict(zip(ids, values, strict=True)),
            dict(zip(other_ids, others, strict=True)),
        )
        if ids[0] != other_ids[0]:
            return


def tolerance_of(together: Sequence[Answered], alone: Sequence[Answered]) -> float | None:
    """How far log-probabilities may move by rounding, in nats: four times the most that they moved in one engine between prompts that were
    batched and the same prompts one by one, three units in the last place of its logits, or the rounding of float32, whichever is most.

    None where one engine's answers differ by more than half of what usually lies between its first and its last named token: that is no
    rounding.
    """
    found = agreement(together, alone)
    rows = [row for item in together for row in item.logprobs]
    usual = median(max(row) - min(row) for row in rows)
    if found.fault is not None or found.moved > usual / 2:
        return None
    largest = max(abs(value) for row in rows for value in row)
    return max(NOISES * found.moved, UNITS * median(map(_unit, rows)), FLOAT32_UNITS * largest)


def _unit(row: Sequence[float]) -> float:
    """The largest power of two that all differences of a position's log-probabilities are multiples of: in half precision a unit in the
    last place of its logits (log-softmax only shifts them); 0 where there is none, as in float32."""
    steps = [abs(value - row[0]) for value in row[1:]]
    for exponent in range(FINEST + 1):
        unit = 2.0**-exponent
        if all(abs(step / unit - round(step / unit)) <= _WHOLE + 2.0**-21 / unit for step in steps) and max(steps, default=0.0) >= unit:
            return unit
    return 0.0
