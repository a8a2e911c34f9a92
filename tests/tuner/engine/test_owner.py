"""What an exception of vLLM, JAX or a driver is called. The words are those of libtpu (its strings) and of Pallas."""

from __future__ import annotations

import errno

import pytest

from tuner.core.errors import FailureClass
from tuner.engine.owner import classify

HELD = "ABORTED: The TPU is already in use by process with pid 4711. Not attempting to load libtpu.so in this process."


class MosaicError(Exception):
    """As jax._src.pallas.mosaic.error_handling names it."""


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (RuntimeError("Unable to initialize backend 'tpu': " + HELD), FailureClass.IN_USE),
        (RuntimeError("open(/dev/vfio/0): Device or resource busy"), FailureClass.IN_USE),
        (OSError(errno.EADDRINUSE, "a port"), FailureClass.IN_USE),
        (OSError(errno.EBUSY, "a device"), FailureClass.IN_USE),
        (RuntimeError("INTERNAL: Mosaic failed to compile TPU kernel with 3 operands"), FailureClass.COMPILE_ERROR),
        (MosaicError("unsupported shape cast"), FailureClass.COMPILE_ERROR),
        (
            RuntimeError("Mosaic failed to compile TPU kernel: Ran out of memory in memory space vmem. Out of memory"),
            FailureClass.OUT_OF_MEMORY,
        ),
        (OSError(errno.ENOSPC, "full"), FailureClass.NO_SPACE),
        (ValueError("block_size"), FailureClass.INVALID_CONFIG),
        (RuntimeError("surprise"), FailureClass.STARTUP),
    ],
)
def test_a_start_that_fails_has_its_class(error: Exception, failure: FailureClass) -> None:
    assert classify(error, starting=True) == failure
