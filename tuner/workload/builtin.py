"""The workloads that have a name. Plain data in the form of a workload file."""

from __future__ import annotations

from typing import Any


def _uniform(low: int, high: int) -> dict[str, Any]:
    return {"kind": "uniform", "low": low, "high": high}


def _lognormal(median: float, sigma: float, high: int) -> dict[str, Any]:
    return {"kind": "lognormal", "median": median, "sigma": sigma, "high": high}


BUILTIN: dict[str, dict[str, Any]] = {
    # A tiny model on two CPU cores; fits max_model_len 512. Most lengths are no multiple of any page size.
    "demo": {
        "source": {
            "kind": "synthetic",
            "input": _uniform(33, 280),
            "output": _uniform(8, 24),
            "num_prompts": 14,
            "prefix_share": 0.25,
            "prefix_groups": 2,
        },
        "load": {"max_concurrency": 8},
    },
    # As demo, wider and longer, for the same small engines (max_model_len 512).
    "mixed-small": {
        "source": {
            "kind": "synthetic",
            "input": _uniform(17, 400),
            "output": _uniform(4, 64),
            "num_prompts": 48,
            "prefix_share": 0.25,
            "prefix_groups": 4,
        },
        "load": {"max_concurrency": 8},
    },
    # A system prompt and a growing history: long right tails; needs max_model_len 3072.
    "chat": {
        "source": {
            "kind": "synthetic",
            "input": _lognormal(300, 0.8, 2048),
            "output": _lognormal(150, 0.7, 1024),
            "num_prompts": 200,
            "prefix_share": 0.5,
            "prefix_groups": 4,
        },
        "load": {"max_concurrency": 32},
    },
    # Long prompts, short answers (summaries, classification): where chunked prefill matters most; needs max_model_len 2080.
    "prefill-heavy": {
        "source": {"kind": "synthetic", "input": _uniform(512, 2048), "output": _uniform(8, 32), "num_prompts": 64},
        "load": {"max_concurrency": 16},
    },
    # Short prompts, long answers; needs max_model_len 640.
    "decode-heavy": {
        "source": {"kind": "synthetic", "input": _uniform(32, 128), "output": _uniform(128, 512), "num_prompts": 64},
        "load": {"max_concurrency": 16},
    },
}
