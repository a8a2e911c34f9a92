"""A host that has vLLM imported, which takes ten seconds and more of a core, lent to one launcher after the other.

`Lending(kind, folder)` stands for the class `kind` where a launcher makes its host: `patch.setattr(module, "EngineHost", lending)`.
A command host is lent as `LentCommands`: all its commands run in the environment that it was made with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.core.contract import Json, StartReport
from tuner.engine.client import EngineHost, EngineProcess
from tuner.engine.commands import Command, CommandHost


class LentHost:
    """Who is lent the host closes the engines that it started, not the host. They run in the environment that its own host would have."""

    def __init__(self, host: EngineHost, env: Mapping[str, str]) -> None:
        self._host = host
        self._env = env
        self._engines: list[EngineProcess] = []

    def start_engine(self, engine_args: Json, env: Mapping[str, str], timeout_s: float) -> tuple[EngineProcess, StartReport]:
        engine, report = self._host.start_engine(engine_args, {**self._env, **env}, timeout_s)
        self._engines.append(engine)
        return engine, report

    def fork_child(self, log_name: str, env: Mapping[str, str]) -> EngineProcess:
        self._engines.append(self._host.fork_child(log_name, {**self._env, **env}))
        return self._engines[-1]

    def close(self) -> None:
        for engine in self._engines:
            engine.close()
        self._engines.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)


class LentCommands:
    """Who is lent the host ends the commands that it started, not the host."""

    def __init__(self, host: CommandHost, _env: Mapping[str, str]) -> None:
        self._host = host
        self._commands: list[Command] = []

    def run(self, module: str, argv: Sequence[str], log_path: Path) -> Command:
        self._commands.append(self._host.run(module, argv, log_path))
        return self._commands[-1]

    def close(self) -> None:
        for command in self._commands:
            command.stop()
        self._commands.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)


class Lending:
    def __init__(self, kind: Callable[..., Any], folder: Path, lent: Callable[[Any, Mapping[str, str]], Any] = LentHost) -> None:
        """`kind`: the class of the host; `folder`: of its logs; `lent`: what who asks for a host gets."""
        self._kind = kind
        self._folder = folder
        self._lent = lent
        self._host: Any = None

    def __call__(self, python: str | None, env: Mapping[str, str], log_dir: Path) -> Any:
        """The host that runs; a new one where there is none, and for another Python one of its own."""
        if python is not None:
            return self._kind(python, env, log_dir)
        log_dir.mkdir(parents=True, exist_ok=True)  # as a host of its own would
        if self._host is None or not self._host.alive:
            self._host = self._kind(None, env, self._folder)
        return self._lent(self._host, env)

    def close(self) -> None:
        """End the host."""
        if self._host is not None:
            self._host.close()
