"""One side of a comparison: the steps of an arm's profile sessions, and how they are drawn again for an interval.

Hosts of one session ran the same steps: their times are averaged step by step, as those of devices are, because counting a step once for
each host would make intervals narrower than they are. Several sessions of an arm are drawn as wholes first and their steps then (two-stage
bootstrap, Davison and Hinkley 1997, 3.8), so that the spread from one session to the next is in the interval. One session alone cannot
know it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from profiles.classify import CATEGORIES
from profiles.summary import Summary

Floats = NDArray[np.float64]
Key = tuple[str, str | None]
_COMPOSITION = ("scheduled_tokens", "padded_tokens", "prefill_tokens", "prefill_requests", "decode_requests")


class Side:
    """All steps of a phase: period [steps], categories [categories, steps]. `sessions` counts those that have any."""

    def __init__(self, summaries: Sequence[Summary], phase: str) -> None:
        sessions = [_Session(group, phase) for group in _by_session(summaries)]
        self._sessions = [session for session in sessions if session.steps]
        self.hosts_left_out = sum(session.left_out for session in sessions)
        self.sessions = len(self._sessions)
        self.period = np.concatenate([np.empty(0), *(session.period() for session in self._sessions)])
        self.categories = np.concatenate([np.empty((len(CATEGORIES), 0)), *(session.categories() for session in self._sessions)], axis=1)

    def weights(self, rng: np.random.Generator, resamples: int) -> Floats:
        """[resamples, steps]: how often each step is drawn, over the number of steps; times a row of steps gives the resampled mean."""
        count = len(self._sessions)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        parts = [
            rng.multinomial(drawn[:, index] * session.steps, np.full(session.steps, 1 / session.steps))
            for index, session in enumerate(self._sessions)
        ]
        joined = np.concatenate(parts, axis=1)
        weights: Floats = joined / joined.sum(axis=1, keepdims=True)
        return weights

    def scope_means(self) -> dict[tuple[str, str], float]:
        """(category, scope) -> mean milliseconds a step."""
        total: dict[tuple[str, str], float] = defaultdict(float)
        for session in self._sessions:
            for key, row in session.scopes().items():
                total[key] += float(row.sum())
        return {key: value / max(len(self.period), 1) for key, value in total.items()}

    def scope_rows(self, keys: Sequence[Key]) -> Floats:
        """[keys, steps]; zero where a profile has no such scope."""
        parts = [np.zeros((len(keys), 0))]
        for session in self._sessions:
            scopes, part = session.scopes(), np.zeros((len(keys), session.steps))
            for row, (category, scope) in enumerate(keys):
                part[row] += scopes.get((category, scope or ""), 0.0)
            parts.append(part)
        return np.concatenate(parts, axis=1)

    def composition(self) -> dict[str, float] | None:
        """What a step of this side computes, means; None where any step's batch is unknown."""
        rows = [session.composition() for session in self._sessions]
        known = [row for row in rows if row is not None]
        if not known or len(known) < len(rows):
            return None
        scheduled, padded, prefill, prefilling, decoding = np.concatenate(known, axis=1)
        return {
            "tokens": float(scheduled.mean()),
            "requests": float((prefilling + decoding).mean()),
            "prefill share": float(prefill.sum() / max(scheduled.sum(), 1.0)),
            "padding": float((padded - scheduled).mean()),
        }


class _Session:
    """The profiles of one session, one for each host."""

    def __init__(self, summaries: Sequence[Summary], phase: str) -> None:
        counts = [len(summary.steps["period_ms"]) for summary in summaries]
        usual = max(set(counts), key=counts.count)
        self._hosts = [summary for summary, count in zip(summaries, counts, strict=True) if count == usual]
        self.left_out = len(summaries) - len(self._hosts)
        self._mask = np.logical_and.reduce([summary.mask(phase) for summary in self._hosts])
        self.steps = int(self._mask.sum())

    def period(self) -> Floats:
        """[steps], mean over the hosts."""
        rows = np.array([summary.steps["period_ms"] for summary in self._hosts], np.float64)
        result: Floats = rows[:, self._mask].mean(axis=0)
        return result

    def categories(self) -> Floats:
        """[categories, steps], mean over the hosts."""
        rows = np.array([[summary.categories_ms[category] for category in CATEGORIES] for summary in self._hosts], np.float64)
        result: Floats = rows[:, :, self._mask].mean(axis=0)
        return result

    def scopes(self) -> dict[tuple[str, str], Floats]:
        """(category, scope) -> [steps]."""
        found: dict[tuple[str, str], Floats] = {}
        for summary in self._hosts:
            for scope in summary.scopes:
                key = scope["category"], scope["scope"]
                row = np.array(scope["ms"], np.float64)[self._mask] / len(self._hosts)
                found[key] = found[key] + row if key in found else row
        return found

    def composition(self) -> Floats | None:
        """[fields, steps] as far as a host knows it for every step."""
        for summary in self._hosts:
            rows = [[value for value, used in zip(summary.steps[name], self._mask, strict=True) if used] for name in _COMPOSITION]
            if all(value is not None for row in rows for value in row):
                return np.array(rows, np.float64)
        return None


def _by_session(summaries: Sequence[Summary]) -> list[list[Summary]]:
    """Hosts of one session together; a profile that lies in no session's folder stands for itself."""
    groups: dict[object, list[Summary]] = {}
    for index, summary in enumerate(summaries):
        session = summary.capture.get("session")
        groups.setdefault(index if session is None else (summary.settings.get("trial"), session), []).append(summary)
    return list(groups.values())
