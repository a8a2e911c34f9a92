"""Where the seconds of an engine's start go, by the clock of the engine's own process. Standard library at import time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

STARTUP = "startup"  # in tuner.core.contract.StartReport.details: metric -> seconds
_PARTS = {"load_model": "startup_weights_s", "compile_or_warm_up_model": "startup_compile_s"}  # methods of tpu-inference's worker


@contextmanager
def timed_start() -> Iterator[dict[str, float]]:
    """Inside it engines are started; what it gives holds the seconds of each part, once it was left `startup_s` too."""
    from tpu_inference.worker.tpu_worker import TPUWorker

    found: dict[str, float] = {}
    originals = {name: getattr(TPUWorker, name) for name in _PARTS}
    for name, part in _PARTS.items():
        setattr(TPUWorker, name, _timed(originals[name], part, found))
    begun = time.perf_counter()
    try:
        yield found
    finally:
        found["startup_s"] = time.perf_counter() - begun
        for name, original in originals.items():
            setattr(TPUWorker, name, original)


def _timed(original: Callable[..., Any], part: str, found: dict[str, float]) -> Callable[..., Any]:
    @wraps(original)
    def timed(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            found[part] = found.get(part, 0.0) + time.perf_counter() - begun

    return timed


def with_import(parts: dict[str, float], import_s: float) -> dict[str, float]:
    """With what importing vLLM took in the host, which every `vllm serve` pays and engines forked from one host share."""
    return {**parts, "startup_import_s": import_s, "startup_s": parts["startup_s"] + import_s}
