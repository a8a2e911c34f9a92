"""Looks inside a program: compiles one step with libtpu's dump and makes its static profile, from what is kept where it can."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.foresight.bundles import NO_INSTRUCTION, parse
from tuner.foresight.check import Json, Say
from tuner.foresight.compiler import Compiler
from tuner.foresight.dump import Dump, knows_no_flags
from tuner.foresight.kept import KeptAnswers
from tuner.foresight.messages import STEP, Compiled, Prepared, ProgramName
from tuner.foresight.question import Question, named, shortened
from tuner.foresight.static_profile import StaticProfile, rows_of

_MODULE = "module.pb"
_MEANING = 2  # of a kept profile: goes up when an older one would be wrong


@dataclass(frozen=True)
class Side:
    """One of two settings to look at. `tokens`: of the step, before padding; `environment`: variables that the engine reads."""

    question: Question
    tokens: int
    layers: int
    environment: Mapping[str, str] = field(default_factory=dict)

    def key(self, installed: Json) -> Json:
        """What the profile depends on."""
        read = {**installed, "environment": {**installed.get("environment", {}), **self.environment}}
        return {**self.question.key(read), "profile": _MEANING, "tokens": self.tokens}


class Look:
    """`installed`: tuner.foresight.installed, of the engine's Python. The dump outlives no call of `at`."""

    def __init__(self, compiler: Compiler, kept: KeptAnswers, installed: Json, say: Say) -> None:
        self._compiler = compiler
        self._kept = kept
        self._installed = installed
        self._say = say

    def at(self, side: Side) -> StaticProfile:
        """Raises BadInput for settings that the engine or the compiler refuses, for a step that the engine does not have, and where there
        is no room for the dump; TrialFailed, one line, where nothing can be known."""
        found = self._kept.find(StaticProfile, side.key(self._installed))
        if found is not None:
            return found
        with Dump() as dump:
            try:
                made = self._made(side, dump)
            finally:
                self._compiler.end_engine()  # before the folder goes that it writes into
        if (problem := self._kept.keep(side.key(self._installed), made)) is not None:
            self._say(f"warning: the profile cannot be kept for the next time: {problem}")
        return made

    def _made(self, side: Side, dump: Dump) -> StaticProfile:
        begun, question = time.perf_counter(), side.question
        title = f"{question.target.name}, page size {question.engine.block_size}"
        environment = {**side.environment, **dump.environment(os.environ)}
        try:
            self._say(f"{title}: building the engine without weights")
            program = _step(self._compiler.prepare(question, environment), side.tokens)
            self._say(f"{title}: compiling {named(program)} and reading its code")
            module_path = dump.folder / _MODULE
            compiled = self._compiler.profile(program, module_path, dump)
        except TrialFailed as error:
            raise _explained(error) from error
        _require_compiled(compiled)
        code = parse(dump.profiles())
        if not code:
            raise TrialFailed(
                FailureClass.INTERNAL, "this libtpu wrote no static bundle profile: another version, whose dump has another form or no flag"
            )
        try:
            rows = rows_of(module_path.read_bytes(), code)
        except (OSError, DecodeError) as error:
            raise TrialFailed(FailureClass.INTERNAL, f"the compiled module cannot be read: {error}") from error
        return StaticProfile(
            tokens=program.size,
            layers=side.layers,
            rows=rows,
            frame=code.get(NO_INSTRUCTION, {}),
            temporary_bytes=compiled.temporary_bytes,
            code_bytes=compiled.code_bytes,
            dump_bytes=dump.size(),
            seconds=time.perf_counter() - begun,
        )


def _step(prepared: Prepared, tokens: int) -> ProgramName:
    """The padded step that `tokens` run in."""
    if prepared.not_known is not None:
        raise TrialFailed(FailureClass.INTERNAL, prepared.not_known)
    if prepared.refused is not None:
        raise BadInput(f"the engine refuses these settings: {shortened(prepared.refused)}")
    sizes = sorted(program.size for program in prepared.programs if program.kind == STEP)
    size = next((each for each in sizes if each >= tokens), None)
    if size is None:
        raise BadInput(f"is above the engine's largest step of {sizes[-1]}", setting="tokens", value=tokens, fix="raise the chunk budget")
    return ProgramName(STEP, size)


def _require_compiled(compiled: Compiled) -> None:
    if compiled.failure is not None:
        raise BadInput(f"{named(compiled.program)} does not compile: {shortened(compiled.message)}")


def _explained(error: TrialFailed) -> TrialFailed | BadInput:
    if error.failure is FailureClass.INVALID_CONFIG:
        return BadInput(f"the engine refuses these settings: {shortened(str(error))}")
    if knows_no_flags(f"{error} {error.log_excerpt}"):
        return BadInput("this libtpu knows no dump flags, so that its code cannot be looked into; `tuner foresee check` works without")
    return error
