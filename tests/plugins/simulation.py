"""One host of simulated engines for all tests of a worker whose file says `usefixtures("shared_simulation_host")`.

The files are one group (workers.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugins.lending import Lending
from tuner.launchers import simulate
from tuner.launchers.simulate import SimulatedHost


@pytest.fixture(scope="session")
def _simulation_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lending]:
    lending = Lending(SimulatedHost, tmp_path_factory.mktemp("simulation-host"))
    yield lending
    lending.close()


@pytest.fixture(scope="module")
def shared_simulation_host(_simulation_host: Lending) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "SimulatedHost", _simulation_host)
        yield
