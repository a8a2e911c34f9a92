"""The launcher contract over every implementation that needs no engine; engines join with the marker `engine`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.launcher_contract import LauncherContract
from tests.tuner.launchers.tables import LIVE, PLAN, SETTINGS, write_table
from tuner.core.contract import EngineSettings, LiveSettings, LoadPlan
from tuner.launchers.table import TableLauncher


class TestTable(LauncherContract):
    @pytest.fixture
    def launcher(self, tmp_path: Path) -> TableLauncher:
        return TableLauncher(write_table(tmp_path))

    @pytest.fixture
    def settings(self) -> EngineSettings:
        return SETTINGS

    @pytest.fixture
    def impossible_settings(self) -> EngineSettings:
        return replace(SETTINGS, block_size=128)

    @pytest.fixture
    def live(self) -> tuple[LiveSettings, LiveSettings]:
        return LIVE

    @pytest.fixture
    def plan(self) -> LoadPlan:
        return PLAN
