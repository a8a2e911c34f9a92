"""Which of a TPU's memories ran out, told from the words of the compiler, vLLM or tpu-inference. Pure."""

from __future__ import annotations

import re

_SPACE = re.compile(r"(?:memory space |ran out of |exceeded |out of memory on |\bspace=)(hbm|vmem|smem)\b", re.IGNORECASE)
_HBM_SIGNS = ("No available memory for the cache blocks", "exceeds total_hbm_limit", "to serve at least one request")


def memory_space(message: str) -> str | None:
    """ "hbm", "vmem" or "smem"; None where the message does not say. XLA: "Ran out of memory in memory space vmem", "Ran out of memory on
    HBM"; Mosaic: "would exceed memory (size=1048576) ... space=smem"."""
    found = _SPACE.search(message)
    if found is not None:
        return found.group(1).lower()
    return "hbm" if any(sign.lower() in message.lower() for sign in _HBM_SIGNS) else None
