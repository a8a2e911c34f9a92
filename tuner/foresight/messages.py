"""What a compiler process is asked and answers, over the wire of tuner.engine.protocol. Bytes are those of one device.

| operation | message | answer |
|---|---|---|
| `start` | Prepare | Prepared |
| `begin` | Begin | Nothing |
| `compile` | Compile | Compiled |
| `profile` | Profile | Compiled |
| `shutdown` | Nothing | Nothing |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

STEP = "step"  # the model's step for a padded number of tokens: what an engine runs all the time


@dataclass(frozen=True)
class Prepare:
    """Build the engine of these arguments (vLLM's EngineArgs) for a TPU, without weights. `topology`: libtpu's name, such as "v6e:2x2"."""

    engine_args: Json
    topology: str


@dataclass(frozen=True)
class ProgramName:
    """One program that the engine would compile when it starts. `size`: its padded tokens, or requests for what is not a step."""

    kind: str
    size: int


@dataclass(frozen=True)
class Prepared:
    """The engine, as far as it is known before anything is compiled.

    `not_known`: why this model cannot be built without its weights; then the numbers are 0. `refused`: the engine's own words where it
    would not start, because weights and one request do not fit.
    """

    device_kind: str
    usable_hbm_bytes: int
    weight_bytes: int
    page_bytes: int  # one KV page, over all layers
    pages: int  # the pool that the engine would make, with the null page; where it would make none, what one request needs
    pages_per_request: int
    utilization: float  # gpu_memory_utilization
    programs: tuple[ProgramName, ...]  # in the order in which the engine compiles them
    decode_tokens: int  # padded tokens of a step in which every running request decodes
    seconds: float
    not_known: str | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Compile:
    program: ProgramName


@dataclass(frozen=True)
class Begin:
    """Compile these, several at once where cores are free. Answered at once; `compile` waits for each."""

    programs: tuple[ProgramName, ...]


@dataclass(frozen=True)
class Profile:
    """Compile it, and write the optimised module (a serialised HloModuleProto) to the file `module_path`, if it compiles."""

    program: ProgramName
    module_path: str


@dataclass(frozen=True)
class Compiled:
    """What the compiler says of one program. `failure`: a FailureClass where it does not compile, with the compiler's `message`."""

    program: ProgramName
    argument_bytes: int  # those of the weights that it uses, KV pages, inputs
    temporary_bytes: int
    output_bytes: int  # beyond what is written into arguments in place
    code_bytes: int
    seconds: float
    failure: str | None = None
    message: str = ""

    @property
    def own_bytes(self) -> int:
        """What it takes beside its arguments."""
        return self.temporary_bytes + self.output_bytes + self.code_bytes
