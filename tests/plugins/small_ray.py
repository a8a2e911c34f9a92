"""A Ray cluster for tests: what nobody looks at is left out, which took two thirds of the processor time of a test that starts one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Ray's command line without `ray serve`, which imports pandas.
_COMMAND_LINE = """#!{python}
import sys
sys.modules["ray.serve"] = None
from ray.scripts.scripts import main
main()
"""


def without_extras(folder: Path) -> dict[str, str]:
    """Variables for processes of a cluster: Ray as it comes without its extra `default`, so that a node's agents serve nothing by HTTP;
    its log monitor, whose lines our drivers do not ask for, looks for new files once a minute; and `ray` is a short program in `folder`."""
    (folder / "aiohttp_cors.py").write_text('raise ModuleNotFoundError("left out by the tests")\n')
    program = folder / "ray"
    program.write_text(_COMMAND_LINE.format(python=sys.executable))
    program.chmod(0o755)
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))),
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
        "LOG_NAME_UPDATE_INTERVAL_S": "60",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


@contextmanager
def small_cluster(folder: Path, cpus: int) -> Iterator[Any]:
    """`ray.cluster_utils.Cluster` with a head of so many CPUs; nodes added to it are small, too."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in without_extras(folder).items():
            patch.setenv(name, value)
        patch.setitem(sys.modules, "ray.dashboard.optional_deps", None)
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": False, "include_log_monitor": False})
        try:
            yield cluster
        finally:
            cluster.shutdown()
