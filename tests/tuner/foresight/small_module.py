"""A step's module and bundle profile, invented: a matrix product of the MLP and RPA's decode kernel."""

from __future__ import annotations

from profiles.schema import HloModule

F32 = 11


def module(page: int) -> bytes:
    made = HloModule(name=b"jit_step_fun", entry_computation_id=1)
    entry = made.computations.add(name=b"main", id=1)
    for name, shape in (("left", (8, 16)), ("right", (16, 32))):
        item = entry.instructions.add(name=name.encode(), opcode=b"parameter", id=len(entry.instructions) + 1)
        item.shape.element_type = F32
        item.shape.dimensions.extend(shape)
    product = entry.instructions.add(name=b"dot.1", opcode=b"dot", id=3, backend_config=b'{"estimated_cycles":"900"}')
    product.metadata.op_name = b"jit(step_fun)/layers/0/mlp/down_proj/dot_general"
    product.dot.lhs_contracting.append(1)
    kernel = entry.instructions.add(name=kernel_name(page).encode(), opcode=b"custom-call", id=4)
    kernel.metadata.op_name = f"jit(step_fun)/layers/0/self_attn/jit(ragged_paged_attention)/{kernel_name(page)}".encode()
    for item, operands in ((product, (1, 2)), (kernel, (1, 2))):
        item.operand_ids.extend(operands)
        item.shape.element_type = F32
        item.shape.dimensions.extend((8, 32))
    made.computations[0].root_id = 4
    return bytes(made.SerializeToString())


def kernel_name(page: int) -> str:
    return f"RPAd-p_{page}-bq_1_1-bkv_4096_4096.1"
