"""What the recommended configuration gains over vLLM's own defaults, or over what was measured nearest to them. Pure.

The winner counts with its confirmed value where search and confirmation took the same path: the best of a search is an overestimate, while
the defaults were not chosen for their value. The two ran in different engines, so their windows are no pairs: Welch's interval on the logs,
which does not know by how much two starts of one engine differ (tuner.stats.racing.ENGINE_BAND).
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import Json
from tuner.core.factors import cell_of, cell_words, factors_of
from tuner.core.numbers import change
from tuner.metrics.catalog import Direction, metric_info
from tuner.metrics.objective import Objective, Slo, is_feasible
from tuner.stats.intervals import welch_interval
from tuner.verdict.answer import Gain
from tuner.verdict.candidates import Candidate, settings_changed

COST_METRICS = ("total_token_throughput", "ttft_p99_ms", "tpot_p99_ms")


def gain_over(baseline: Candidate, winner: Candidate, objective: Objective, slos: Sequence[Slo], defaults: Json) -> Gain | None:
    """None where there is nothing to compare. `low` and `high`: 95 % interval of the geometric means, widened to hold the ratio; None below
    two windows on a side."""
    values = winner.metrics[objective.metric], baseline.metrics.get(objective.metric)
    if winner.is_configuration_of(baseline.trial) or values[1] is None or min(values[0], values[1]) <= 0:
        return None
    ours, theirs = ([float(item.metrics[objective.metric]) for item in side.measurements] for side in (winner, baseline))
    interval, ratio = welch_interval(ours, theirs), values[0] / values[1]
    trial = baseline.trial
    return {
        "metric": objective.metric,
        "value": values[0],
        "baseline_value": values[1],
        "ratio": ratio,
        "low": None if interval is None else min(interval[0], ratio),
        "high": None if interval is None else max(interval[1], ratio),
        "baseline": {
            "trial_id": trial.id,
            "arm": trial.arm,
            "block_size": trial.block_size,
            "max_num_batched_tokens": trial.max_num_batched_tokens,
            **({"factors": trial.factors} if trial.factors else {}),
            "is_stock": bool(defaults) and settings_changed(trial, defaults) == 0,
            "misses": [str(slo) for slo in slos if not is_feasible((slo,), baseline.metrics)],
        },
        "stages": [winner.trial.stage.value, trial.stage.value],
    }


def is_cost(gain: Gain) -> bool:
    """Whether the whole interval is a change for the worse."""
    low, high = gain["low"], gain["high"]
    if low is None or high is None:
        return False
    return low > 1 if metric_info(gain["metric"]).direction is Direction.MINIMIZE else high < 1


def gain_text(gain: Gain, others: Sequence[Gain] = (), costs: Sequence[Gain] = ()) -> str:
    """For instance "+12.3 % (+9.0 % to +15.7 %), at +28.0 % ttft_p99_ms (+20.1 % to +36.4 %), against vLLM's own defaults (page size 16,
    chunk budget 2048)". `others`: in further objectives, `costs`: in what was no objective, against the same; each is named, so that no
    gain hides what it costs."""
    baseline = gain["baseline"]
    where = cell_words(cell_of(baseline["block_size"], baseline["max_num_batched_tokens"], factors_of(baseline.get("factors", {}))))
    who = f"vLLM's own defaults ({where})" if baseline["is_stock"] else f"the nearest to vLLM's own defaults that was measured ({where})"
    missed = f", which miss{'' if baseline['is_stock'] else 'es'} {', '.join(baseline['misses'])}" if baseline["misses"] else ""
    further = "".join(f", {other['metric']} {_ratio_text(other)}" for other in others)
    paid = " and ".join(f"{change(cost['ratio'])} {cost['metric']}{_span(cost)}" for cost in costs)
    return f"{_ratio_text(gain)}{further}{f', at {paid},' if paid else ''} against {who}{missed}"


def _ratio_text(gain: Gain) -> str:
    return change(gain["ratio"]) + _span(gain)


def _span(gain: Gain) -> str:
    low, high = gain["low"], gain["high"]
    return "" if low is None or high is None else f" ({change(low)} to {change(high)})"


def about_the_defaults(winner: Candidate, nearest: Candidate | None, defaults: Json) -> str | None:
    """A caveat where vLLM's own defaults were not measured; `nearest` is the nearest to them that was. None where they were."""
    if not defaults:
        return "vLLM's own defaults are not known for this study"
    if nearest is not None and settings_changed(nearest.trial, defaults) == 0:
        return None
    names = {"block_size": "page size", "max_num_batched_tokens": "chunk budget"}
    known = {names.get(name, name): defaults.get(name) for name in dict.fromkeys([*names, *defaults])}
    which = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
    what = f"vLLM's own defaults ({which}) were not measured"
    if nearest is None:
        return f"{what}, and nothing in the default arm was"
    if winner.is_configuration_of(nearest.trial):
        return f"{what}: what is recommended is the nearest to them that was"
    return f"{what}: the gain is told against the nearest that was"
