"""Why a compared cell is what it is: the number of steps (schedule), padded tokens (padding), the KV write, or noise. Pure.

With n steps and P padded tokens a window takes the time c = (1 - w) n / n0 + w P / P0 in units of a typical window, w fitted to the study
(tuner.verdict.step_cost). Between the arms, with L the logarithmic mean of c0 and c1,

    log(c1 / c0) = (1 - w) (n1 - n0) / n / L  +  w (P1 - P0) / P / L
                   schedule                      padding

exactly (Ang, Energy Policy 2005: logarithmic mean Divisia index). What the measured effect has beyond the two is "other": the KV write,
which differs between the arms as well, all else, and noise. Parts are factors of the metric and multiply to the cell's ratio. Metrics that
are no rate of the engine's steps (latencies, and everything in an open loop) have no parts, only the direction in which they point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from storage.records import Comparison, Json
from tuner.metrics.catalog import metric_info
from tuner.stats.intervals import Verdict
from tuner.verdict.cell_steps import CellSteps, in_words, to_json
from tuner.verdict.kv_share import KvShare
from tuner.verdict.step_cost import StepCost

CAUSE = "cause"  # its key in the details of a comparison
SCHEDULE, PADDING, KV_WRITE, OTHER, NOISE = "schedule", "padding", "kv_write", "other", "noise"
NO_PAIR = "unknown: no valid pair"
UNSEEN = "unknown: the launcher sees no steps"
_RATES = frozenset({"request_throughput", "output_token_throughput", "prompt_token_throughput", "total_token_throughput"})
_STEP_TIME = "mean_step_ms"
_WORTH_A_WORD = 0.2  # of the effect: a smaller part is no cause
_WORTH_A_NUMBER = 0.005  # of the metric: a smaller part is not told

_WORDS = {SCHEDULE: "schedule", PADDING: "padding", KV_WRITE: "the KV write", OTHER: "the KV write or something else", NOISE: "noise"}


@dataclass(frozen=True)
class Part:
    """Log of the factor that it makes of the metric; `value` None: somewhere between `low` and `high`."""

    value: float | None
    low: float
    high: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2 if self.value is None else self.value

    def to_json(self) -> Json:
        return {"ratio": None if self.value is None else math.exp(self.value), "low": math.exp(self.low), "high": math.exp(self.high)}


@dataclass(frozen=True)
class CellEvidence:
    """What is known of a cell beside its effect. `kv`: of (default, page_aligned). `open_loop`: requests came at given times."""

    steps: CellSteps | None
    cost: StepCost | None = None
    kv: tuple[KvShare | None, KvShare | None] = (None, None)
    open_loop: bool = False


def cell_cause(evidence: CellEvidence, effect: Comparison) -> Json:
    """`sentence` for people, `causes` of the verdict, and the numbers: see docs/metrics.md. Raises BadInput for an unknown metric."""
    steps = evidence.steps
    if effect.pairs == 0:
        return {"sentence": NO_PAIR, "causes": []}
    if steps is None:
        return {"sentence": UNSEEN, "causes": []}
    parts = _parts(evidence, effect)
    causes, conclusion = _conclude(evidence, effect, parts)
    return {
        "sentence": f"{in_words(steps)}: {conclusion}",
        "causes": causes,
        **to_json(steps),
        "parts": {name: part.to_json() for name, part in parts.items()} if _is_rate(effect.metric, evidence) else {},
        "padded_fraction": _fraction_json(evidence.cost),
        "kv_write_at_most": _kv_limit(evidence.kv),
    }


def _is_rate(metric: str, evidence: CellEvidence) -> bool:
    return metric == _STEP_TIME or (metric in _RATES and not evidence.open_loop)


def _parts(evidence: CellEvidence, effect: Comparison) -> dict[str, Part]:
    """Schedule and padding, then KV write and the rest where the metric is a rate. For other metrics as for throughput, better when up."""
    steps, cost = evidence.steps, evidence.cost
    assert steps is not None
    assert cost is not None
    fractions = [cost.low, cost.high] if cost.padded_fraction is None else [cost.low, cost.high, cost.padded_fraction]
    found = [_of_fraction(steps, cost, fraction, effect.metric) for fraction in fractions]
    parts = {}
    for name in (SCHEDULE, PADDING):
        values = [item[name] for item in found]
        parts[name] = Part(None if cost.padded_fraction is None and min(values) != max(values) else values[-1], min(values), max(values))
    if not _is_rate(effect.metric, evidence):
        return parts
    sums = [item[SCHEDULE] + item[PADDING] for item in found]
    kv = _kv_part(steps, evidence.kv, effect.metric)
    if kv is not None:
        parts[KV_WRITE] = Part(kv, kv, kv)
        sums = [value + kv for value in sums]
    if effect.ratio is not None and effect.low is not None and effect.high is not None:
        rest = None if cost.padded_fraction is None and min(sums) != max(sums) else math.log(effect.ratio) - sums[-1]
        parts[OTHER] = Part(rest, math.log(effect.low) - max(sums), math.log(effect.high) - min(sums))
    return parts


def _of_fraction(steps: CellSteps, cost: StepCost, fraction: float, metric: str) -> dict[str, float]:
    """Log factors of the metric where this fraction of the time goes with padded tokens."""
    one, other = steps.default, steps.page_aligned
    times = [cost.relative_time(side.steps, side.padded_tokens, fraction) for side in (one, other)]
    mean = _log_mean(*times)
    by_steps = (1 - fraction) * (other.steps - one.steps) / cost.typical[0] / mean
    by_padding = fraction * (other.padded_tokens - one.padded_tokens) / cost.typical[1] / mean
    if metric == _STEP_TIME:
        return {SCHEDULE: by_steps - math.log(other.steps / one.steps), PADDING: by_padding}
    return {SCHEDULE: -by_steps, PADDING: -by_padding}


def _kv_part(steps: CellSteps, kv: tuple[KvShare | None, KvShare | None], metric: str) -> float | None:
    """Log factor from the difference of the two arms' writes; None where the profiles cannot tell."""
    before, after = kv
    if before is None or after is None or not (before.exact and after.exact):
        return None
    one, other = (side.steps * side.step_ms for side in (steps.default, steps.page_aligned))
    by_write = (after.fraction * other - before.fraction * one) / _log_mean(one, other)
    return by_write if metric == _STEP_TIME else -by_write


def _kv_limit(kv: tuple[KvShare | None, KvShare | None]) -> float | None:
    """The most of the engine time that a faster write can save: all of the default arm's."""
    return kv[0].fraction if kv[0] is not None else None


def _log_mean(one: float, other: float) -> float:
    return one if math.isclose(one, other) else (other - one) / math.log(other / one)


def _conclude(evidence: CellEvidence, effect: Comparison, parts: dict[str, Part]) -> tuple[list[str], str]:
    """(causes, the sentence's second half)."""
    steps = evidence.steps
    assert steps is not None
    if effect.verdict == Verdict.EQUIVALENT:
        return [], "no difference beyond 1 %"
    if effect.verdict == Verdict.INCONCLUSIVE:
        if effect.low is None:
            return [NOISE], "too few pairs to tell"
        return [NOISE], "noise" + (_expected(parts) if _is_rate(effect.metric, evidence) else "")
    if steps.identical:
        return _only_the_write(evidence)
    up = effect.ratio is not None and effect.ratio > 1
    if not _is_rate(effect.metric, evidence):
        return _by_direction(parts, faster=up == (metric_info(effect.metric).direction.sign > 0))
    return _by_size(parts, math.log(effect.ratio or 1.0))


def _expected(parts: dict[str, Part]) -> str:
    """What the noise hides, where that is known to be something."""
    both = parts[SCHEDULE], parts[PADDING]
    middle, low, high = (sum(getattr(part, name) for part in both) for name in ("middle", "low", "high"))
    return f" (alone they make about {_percent(middle)})" if low * high > 0 and abs(middle) >= _WORTH_A_NUMBER else ""


def _only_the_write(evidence: CellEvidence) -> tuple[list[str], str]:
    limit = _kv_limit(evidence.kv)
    size = "" if limit is None else f", at most {100 * limit:.2g} % of the time by the profiles,"
    return [KV_WRITE, NOISE], f"only the KV write{size} or chance is left"


def _by_direction(parts: dict[str, Part], *, faster: bool) -> tuple[list[str], str]:
    """For metrics that are no rate: what makes the engine's work take the direction of the verdict."""
    causes = [name for name in (SCHEDULE, PADDING) if (parts[name].middle > 0) == faster and parts[name].middle != 0]
    if causes:
        return causes, _listed(causes)
    return [SCHEDULE], "schedule: when which request gets its tokens, not the time of the steps"


def _by_size(parts: dict[str, Part], effect: float) -> tuple[list[str], str]:
    """Every part that points the way of the effect and is a good piece of it, with its size; and what works against it."""
    sign = 1 if effect > 0 else -1
    causes = [
        name for name, part in parts.items() if part.middle * sign >= _WORTH_A_WORD * abs(effect) and (name != OTHER or _is_real(part))
    ]
    if not causes:
        return [OTHER], "schedule, padding and KV write together, none of them alone"
    against = [
        name for name, part in parts.items() if part.middle * sign <= -max(_WORTH_A_NUMBER, _WORTH_A_WORD * abs(effect)) and _is_real(part)
    ]
    text = _listed([f"{_WORDS[name]} ({_size(parts[name])})" for name in causes])
    if against:
        text += ", against " + _listed([f"{_WORDS[name]} ({_size(parts[name])})" for name in against])
    return causes, text


def _is_real(part: Part) -> bool:
    return part.low > 0 or part.high < 0


def _size(part: Part) -> str:
    if part.value is not None:
        return _percent(part.value)
    if part.low == 0 or part.high == 0:
        return f"at most {_percent(part.low or part.high)}"
    return f"{_percent(part.low)} to {_percent(part.high)}"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else words[0]


def _percent(log_factor: float) -> str:
    return f"{100 * math.expm1(log_factor):+.1f} %"


def _fraction_json(cost: StepCost | None) -> Json | None:
    if cost is None:
        return None
    return {"value": cost.padded_fraction, "low": cost.low, "high": cost.high, "differences": cost.differences}
