"""What the form for submitting a study shows: a study file made of a few fields, and the plan in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.core.factors import factor_words

MOST_ENGINES = 12
# Field of the little form -> (label, hint). Their values go into the study file as they stand.
FIELDS = {
    "study": ("Name of the study", "qwen3-chat-v6e"),
    "model": ("Model", "as given to vllm serve"),
    "page_sizes": ("Page sizes", "empty: decided from the model"),
    "chunk_budgets": ("Chunk budgets", "512, 1024, 2048"),
    "workload": ("Workload", "demo, chat, prefill-heavy, ..."),
    "slos": ("SLOs", "e.g. ttft_p99_ms<=500"),
    "time_budget": ("Time budget", "e.g. 8h"),
}
_LISTS = frozenset({"page_sizes", "chunk_budgets", "slos"})
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/")


def study_file(fields: Mapping[str, str]) -> str:
    """YAML of the fields that are filled in; "" where none is."""
    lines = []
    for name in FIELDS:
        text = fields.get(name, "").strip()
        if name in _LISTS and text:
            lines.append(f"{name}: [{', '.join(_scalar(part.strip()) for part in text.split(',') if part.strip())}]")
        elif text:
            lines.append(f"{name}: {_scalar(text)}")
    return "".join(f"{line}\n" for line in lines)


def _scalar(text: str) -> str:
    if text and set(text) <= _PLAIN:
        return text
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class PlanView:
    """`engines`: one line each, the first few; `more`: how many further ones."""

    trials: int
    starts: int
    windows: int
    finalists: int
    estimate_s: float
    sampler: str
    costs: str
    engines: tuple[str, ...]
    more: int


def plan_view(plan: Mapping[str, Any]) -> PlanView:
    """Of what tuner.search.plan.SearchPlan.to_json gives."""
    groups = plan["cold_groups"]
    return PlanView(
        trials=plan["trials"],
        starts=plan["engine_starts"],
        windows=plan["windows"],
        finalists=plan["finalists"],
        estimate_s=plan["estimate_s"],
        sampler=plan["sampler"],
        costs=plan["costs"]["source"],
        engines=tuple(_engine(group) for group in groups[:MOST_ENGINES]),
        more=max(0, len(groups) - MOST_ENGINES),
    )


def _engine(group: Mapping[str, Any]) -> str:
    words = factor_words(group.get("factors", {}).items())
    what = f"page size {group['block_size']}, budget up to {group['compiled_max']}" + (f", {words}" if words else "")
    return f"{what}: {group['configurations']} {'configuration' if group['configurations'] == 1 else 'configurations'}"
