"""One host of simulated engines for all tests of a worker whose file says `usefixtures("shared_simulation_host")`.

Importing vLLM takes ten seconds and more of a core, a simulated engine a fraction of one. The files are one group (workers.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import override

import pytest

from tuner.launchers import simulate
from tuner.launchers.simulate import SimulatedHost

Host = Callable[[str | None, Mapping[str, str], Path], SimulatedHost]


class KeptHost(SimulatedHost):
    """Ends its simulated engines when its user closes it, and itself at the end of the session."""

    kept = False

    @override
    def close(self) -> None:
        if not self.kept:
            super().close()
            return
        for engine in self._engines:
            engine.close()
        self._engines.clear()


@pytest.fixture(scope="session")
def _simulation_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Stands for the class: gives the host that runs. For another Python it makes one."""
    hosts: list[KeptHost] = []

    def host(python: str | None, env: Mapping[str, str], log_dir: Path) -> SimulatedHost:
        if python is not None:
            return SimulatedHost(python, env, log_dir)
        if not hosts or not hosts[-1].alive:
            hosts.append(KeptHost(None, env, tmp_path_factory.mktemp("simulation-host")))
            hosts[-1].kept = True
        return hosts[-1]

    yield host
    for each in hosts:
        each.kept = False
        each.close()


@pytest.fixture(scope="module")
def shared_simulation_host(_simulation_host: Host) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "SimulatedHost", _simulation_host)
        yield
