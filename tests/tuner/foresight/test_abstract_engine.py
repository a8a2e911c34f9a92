"""Which compilations are begun at once. That they are right is tested with the real compiler (test_compiling.py)."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.engine.cpu_contention import CONTENTION
from tuner.foresight import abstract_engine
from tuner.foresight.abstract_engine import AbstractEngine
from tuner.foresight.messages import STEP, ProgramName

pytestmark = pytest.mark.slow  # imports JAX

SMALL, LARGE, LOGITS = ProgramName(STEP, 16), ProgramName(STEP, 1024), ProgramName("logits", 128)


class Others:
    """Processes that keep this part of all cores busy."""

    def __init__(self, busy: float) -> None:
        self.busy = busy

    def since(self) -> dict[str, float]:
        return {CONTENTION: self.busy}


def engine_beside(others: float, monkeypatch: pytest.MonkeyPatch) -> tuple[AbstractEngine, list[ProgramName]]:
    """One that notes what it compiles, one after the other."""
    compiled: list[ProgramName] = []

    def compile_it(_engine: Any, program: ProgramName, _module_path: str | None = None) -> ProgramName:
        compiled.append(program)
        return program

    monkeypatch.setattr(abstract_engine, "_AT_ONCE", 1)
    monkeypatch.setattr(AbstractEngine, "_compile", compile_it)
    engine = AbstractEngine.__new__(AbstractEngine)
    engine._cores = Others(others)  # type: ignore[assignment]
    engine._begun = {}
    return engine, compiled


def test_the_longest_is_begun_first_and_each_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, compiled = engine_beside(0.05, monkeypatch)
    engine.begin([SMALL, LOGITS, LARGE])
    answers: list[Any] = [engine.compile(program) for program in (SMALL, LARGE, LOGITS)]
    assert answers == [SMALL, LARGE, LOGITS]
    assert compiled == [LARGE, SMALL, LOGITS]


def test_on_a_busy_machine_each_is_compiled_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, compiled = engine_beside(0.6, monkeypatch)
    engine.begin([SMALL, LARGE])
    assert compiled == []
    answers: list[Any] = [engine.compile(program) for program in (SMALL, LARGE)]
    assert answers == [SMALL, LARGE] == compiled
