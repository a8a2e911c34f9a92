"""Answers questions: from what is kept where it can, else by compiling. The next room's way in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tuner.core.errors import FailureClass, TrialFailed
from tuner.foresight.compiler import Compiler
from tuner.foresight.kept import KeptAnswers, Subject
from tuner.foresight.messages import STEP, Compiled, Prepared, ProgramName
from tuner.foresight.question import Foreseen, Question, named

Json = dict[str, Any]
Say = Callable[[str], None]


class Foresight:
    """`installed`: tuner.foresight.installed, of the engine's Python. `say` is told what is being done, one line each. Owned by `with`."""

    def __init__(self, compiler: Compiler, kept: KeptAnswers, installed: Json, say: Say) -> None:
        self._compiler = compiler
        self._kept = kept
        self._installed = installed
        self._say = say
        self._warned = False

    def answer(self, questions: Iterable[Question], *, all_programs: bool = False) -> Iterator[Foreseen]:
        """One answer a question, in order. Raises Interrupted and the like, never TrialFailed."""
        return (self._answer(question, all_programs=all_programs) for question in questions)

    def _answer(self, question: Question, *, all_programs: bool) -> Foreseen:
        began = time.perf_counter()
        key, about = question.key(self._installed), _subject("engine", question)
        prepared = self._kept.find(Prepared, key, about)
        built = prepared is None
        if prepared is None:
            try:
                prepared = self._built(question)
            except TrialFailed as error:
                return replace(_refused(question, error), seconds=time.perf_counter() - began)
            self._remember(key, prepared, about)
        refusal = None if prepared.refused is None else FailureClass.OUT_OF_MEMORY
        answer = Foreseen(question, prepared, lost=prepared.not_known, refused=prepared.refused, refusal=refusal, kept=not built)
        try:
            for compiled, kept in self._programs(question, prepared, _wanted(prepared, all_programs=all_programs), built=built):
                answer = replace(answer, programs=(*answer.programs, compiled), kept=answer.kept and kept)
                if compiled.failure is not None:
                    break  # one reason is enough
        except TrialFailed as error:
            answer = replace(answer, lost=str(error), kept=False)
        return replace(answer, seconds=time.perf_counter() - began)

    def _programs(
        self, question: Question, prepared: Prepared, wanted: Sequence[ProgramName], *, built: bool
    ) -> Iterator[tuple[Compiled, bool]]:
        """Those that are wanted, and whether each was kept. `built`: the compiler has this engine already. Raises TrialFailed."""
        about = _subject("program", question)
        keys = {program: {**question.key(self._installed, program), "pages": prepared.pages} for program in wanted}
        known = {program: self._kept.find(Compiled, key, about) for program, key in keys.items()}
        begun = False
        for program, kept in known.items():
            if kept is not None:
                yield kept, True
                continue
            if not built:
                self._built(question)
                built = True
            if not begun:
                self._compiler.begin([name for name, found in known.items() if found is None])
                begun = True
            self._say(f"{_title(question)}: compiling {named(program)}")
            compiled = self._compiler.compile(program)
            self._remember(keys[program], compiled, about)
            yield compiled, False

    def _built(self, question: Question) -> Prepared:
        """Raises TrialFailed."""
        self._say(f"{_title(question)}: building the engine without weights")
        return self._compiler.prepare(question)

    def _remember(self, key: Json, answer: object, about: Subject) -> None:
        problem = self._kept.keep(key, answer, about)
        if problem is not None and not self._warned:
            self._warned = True
            self._say(f"warning: answers cannot be kept for the next time: {problem}")


def _wanted(prepared: Prepared, *, all_programs: bool) -> Sequence[ProgramName]:
    """The programs that decide, the quickest first: a step of decodes only and the largest step. Where the engine refuses to start, only
    the first, for the compiler's word on it."""
    if all_programs and prepared.refused is None:
        return prepared.programs
    steps = [program for program in prepared.programs if program.kind == STEP]
    if not steps:
        return ()
    decode = ProgramName(STEP, prepared.decode_tokens)
    largest = max(steps, key=lambda program: program.size)
    return (decode,) if prepared.refused is not None or largest == decode else (decode, largest)


def _refused(question: Question, error: TrialFailed) -> Foreseen:
    """Where not even the engine could be built: vLLM refuses the settings, or something was lost."""
    if error.failure is FailureClass.INVALID_CONFIG:
        return Foreseen(question, None, refused=str(error), refusal=error.failure)
    return Foreseen(question, None, lost=str(error))


def _subject(kind: str, question: Question) -> Subject:
    return Subject(kind, question.engine.model, question.target.chip, question.target.devices)


def _title(question: Question) -> str:
    engine = question.engine
    return f"{question.target.name}, page size {engine.block_size}, budget {engine.max_num_batched_tokens}"
