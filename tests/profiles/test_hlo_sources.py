"""Where in the model an instruction was written, on modules written by hand: where frames got lost."""

from __future__ import annotations

from typing import Any

from profiles.hlo_sources import source_scopes
from profiles.schema import HloModule


class Written:
    """A module with frames, written by hand: each function is called by the one before it."""

    def __init__(self, *functions: str) -> None:
        self.module = HloModule(name=b"m", entry_computation_id=1)
        table = self.module.stack_frame_index
        for index, name in enumerate(functions):
            table.function_names.append(name.encode())
            table.file_locations.add(function_name_id=index + 1)
            table.stack_frames.add(file_location_id=index + 1, parent_frame_id=index)
        self.entry = self.part(1)
        self._count = 0

    def part(self, number: int) -> Any:
        return self.module.computations.add(name=f"part{number}".encode(), id=number)

    def add(self, part: Any, name: str, opcode: str, frame: int = 0, operands: tuple[int, ...] = (), calls: tuple[int, ...] = ()) -> int:
        self._count += 1
        item = part.instructions.add(name=name.encode(), opcode=opcode.encode(), id=self._count)
        item.metadata.stack_frame_id = frame
        item.operand_ids.extend(operands)
        item.called_computation_ids.extend(calls)
        return self._count


CALLS = ("MForCausalLM.__call__", "Layer.__call__", "TheAttention.__call__", "RmsNorm.__call__")


def test_in_a_fusion_the_product_decides_and_not_what_ends_it() -> None:
    made = Written(*CALLS)
    inside = made.part(2)
    made.add(inside, "dot", "dot", 3)
    made.add(inside, "convert", "convert", 4)
    made.add(inside, "square", "multiply", 4)
    made.add(made.entry, "fusion", "fusion", 4, calls=(2,))
    assert source_scopes(made.module)["fusion"] == "Layer/TheAttention"


def test_a_product_without_frames_belongs_to_the_part_of_the_layer_that_uses_it() -> None:
    """libtpu drops the frames of a projection that it fuses with the norm before it: it is no norm."""
    made = Written(*CALLS)
    deep, inside = made.part(3), made.part(2)
    made.add(deep, "conv", "convolution")
    made.add(inside, "norm", "multiply", 2)
    made.add(inside, "nested", "fusion", 2, calls=(3,))
    fusion = made.add(made.entry, "fusion", "fusion", 2, calls=(2,))
    renamed = made.add(made.entry, "bitcast", "bitcast", operands=(fusion,))
    made.add(made.entry, "user", "add", 4, operands=(renamed,))
    assert source_scopes(made.module)["fusion"] == "Layer/TheAttention/JaxEinsum"


def test_what_nobody_knows_has_no_entry() -> None:
    made = Written(*CALLS)
    lost = made.add(made.entry, "copy", "copy")
    made.add(made.entry, "far", "add", 99, operands=(lost,))
    assert source_scopes(made.module) == {}


def test_frames_that_call_each_other_end() -> None:
    made = Written(*CALLS)
    made.module.stack_frame_index.stack_frames[0].parent_frame_id = 4
    made.add(made.entry, "add", "add", 4)
    assert source_scopes(made.module)["add"] == "Layer/TheAttention/RmsNorm"
