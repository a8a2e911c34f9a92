"""What the benches on the real engine leave behind."""

from __future__ import annotations

import pytest

from tests.plugins.programs import Programs


@pytest.mark.slow
def test_asking_for_the_device_leaves_the_environment_as_it_was(programs: Programs) -> None:
    """A model that was compiled for a TPU afterwards, by the same tests or the same bench, was another one (MODEL_IMPL_TYPE=vllm)."""
    code = (
        "import os; from bench.lib.real_engine import device_line\n"
        "before = dict(os.environ); line = device_line()\n"
        "kept = ('MODEL_IMPL_TYPE', 'SKIP_JAX_PRECOMPILE', 'TPU_NAME', 'HF_HUB_OFFLINE', 'MINE')\n"
        "print([name for name in kept if os.environ.get(name) != before.get(name)], bool(line))\n"
    )
    printed = programs.execute(f"import os; os.environ.pop('MODEL_IMPL_TYPE', None)\n{code}", env={"MINE": "kept"})
    assert printed.splitlines()[-1:] == ["[] True"]
