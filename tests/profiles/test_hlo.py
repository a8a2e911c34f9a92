"""Scopes, categories and contexts out of an HLO module built by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from profiles.classify import is_anchor
from profiles.hlo import HloOp, Program, load, split_program
from profiles.planes import Plane, contents
from profiles.wire import ByteSource, Malformed
from tests.oracles.xspace import HloProto, XSpace
from tests.profiles.builder import PlaneBuilder

ROW = "jit(step)/VllmRowParallelLinear/dot_general"


class ModuleBuilder:
    """Instructions by name; operands and called computations by name, too."""

    def __init__(self, name: str) -> None:
        self.proto = HloProto()
        self.proto.hlo_module.name = name
        self.ids: dict[str, int] = {}
        self.computations: dict[str, Any] = {}

    def add(self, computation: str, name: str, opcode: str, scope: str = "", operands: str = "", calls: str = "") -> None:
        home = self._computation(computation)
        self.ids[name] = len(self.ids) + 1
        item = home.instructions.add(name=name, opcode=opcode, id=self.ids[name])
        item.metadata.op_name = scope
        item.operand_ids.extend(self.ids[each] for each in operands.split())
        item.called_computation_ids.extend(self._computation(each).id for each in calls.split())

    def _computation(self, name: str) -> Any:
        if name not in self.computations:
            self.computations[name] = self.proto.hlo_module.computations.add(name=name, id=len(self.computations) + 1)
        return self.computations[name]


def plane(tmp_path: Path, *modules: tuple[str, bytes]) -> Plane:
    space = XSpace()
    builder = PlaneBuilder(space, "/host:metadata")
    for name, proto in modules:
        builder.event_id(name)
        builder.plane.event_metadata[-1].value.stats.add(metadata_id=builder.stat_id("hlo_proto"), bytes_value=proto)
    path = tmp_path / "x.xplane.pb"
    path.write_bytes(space.SerializeToString())
    return contents(ByteSource(path)).planes[0]


def described(tmp_path: Path, module: ModuleBuilder) -> dict[str, HloOp]:
    holder = plane(tmp_path, ("jit_step(7)", module.proto.SerializeToString()))
    program = load(holder, {7: ("jit_step", frozenset(module.ids))}, is_anchor)[7]
    return dict(program.ops)


def test_a_fusion_without_a_scope_takes_the_majority_of_what_it_fuses(tmp_path: Path) -> None:
    module = ModuleBuilder("jit_step")
    module.add("fused", "p", "parameter", "jit(step)/other/p")
    module.add("fused", "a", "multiply", "jit(step)/mlp/mul")
    module.add("fused", "b", "add", "jit(step)/mlp/mul")
    module.add("fused", "c", "add", "jit(step)/norm/add")
    module.add("main", "fusion.1", "fusion", calls="fused")
    assert described(tmp_path, module)["fusion.1"].scope == "jit(step)/mlp/mul"


def test_an_instruction_without_a_scope_inside_a_loop_takes_the_loops(tmp_path: Path) -> None:
    module = ModuleBuilder("jit_step")
    module.add("inner", "dot.1", "dot")
    module.add("body", "while.2", "while", calls="inner")
    module.add("main", "while.1", "while", "jit(step)/tuner_attention_prefill/while", calls="body")
    found = described(tmp_path, module)
    assert found["dot.1"].scope == "jit(step)/tuner_attention_prefill/while"
    assert (found["while.1"].container, found["dot.1"].container) == (True, False)
    assert (found["while.1"].in_loop, found["dot.1"].in_loop) == (False, True)


def test_computations_that_call_each_other_do_not_hang(tmp_path: Path) -> None:
    module = ModuleBuilder("jit_step")
    module.add("one", "call.1", "call", calls="two")
    module.add("two", "call.2", "call", "", "call.1", "one")
    found = described(tmp_path, module)
    assert [(op.scope, op.context, op.in_loop) for op in found.values()] == [("", "", False)] * 2


def test_categories_follow_what_is_fused(tmp_path: Path) -> None:
    module = ModuleBuilder("jit_step")
    module.add("dots", "d", "dot")
    module.add("moves", "t", "transpose")
    module.add("sums", "s", "add")
    for name, calls in (("f.1", "dots"), ("f.2", "moves"), ("f.3", "sums")):
        module.add("main", name, "fusion", calls=calls)
    module.add("main", "all-reduce.1", "all-reduce")
    found = described(tmp_path, module)
    assert [found[name].hlo_category for name in ("f.1", "f.2", "f.3")] == ["convolution fusion", "data formatting", "loop fusion"]
    assert found["all-reduce.1"].hlo_category == "all-reduce"


def test_context_is_the_nearest_producer_that_names_a_part_of_the_model(tmp_path: Path) -> None:
    module = ModuleBuilder("jit_step")
    module.add("main", "attention", "fusion", "jit(step)/tuner_attention_decode/dot_general")
    module.add("main", "o_proj", "dot", ROW, "attention")
    module.add("main", "psum", "copy", "jit(step)/VllmRowParallelLinear/psum", "o_proj")
    module.add("main", "gate_up", "dot", "jit(step)/MergedColumnParallelLinear/dot_general", "psum")
    module.add("main", "mul", "fusion", "jit(step)/aten::mul.Tensor/mul", "gate_up")
    module.add("main", "down_proj", "dot", ROW, "mul")
    found = described(tmp_path, module)
    assert found["o_proj"].context == "jit(step)/tuner_attention_decode/dot_general"
    assert found["down_proj"].context == "jit(step)/MergedColumnParallelLinear/dot_general"
    assert found["psum"].context == found["o_proj"].context  # its own linear is passed through
    assert found["mul"].context == "jit(step)/MergedColumnParallelLinear/dot_general"
    assert found["attention"].context == ""


def collective(tmp_path: Path, devices: int, **groups: Any) -> str:
    """XLA's category of an all-reduce in a module that runs on so many devices."""
    module = ModuleBuilder("jit_step")
    module.proto.hlo_module.device_assignment.replica_count = 1
    module.proto.hlo_module.device_assignment.computation_count = devices
    module.add("main", "psum.1", "all-reduce", ROW)
    item = module.computations["main"].instructions[0]
    for ids in groups.get("listed", ()):
        item.collective_device_list.replica_groups.add(replica_ids=ids)
    for ids in groups.get("old", ()):
        item.replica_groups.add(replica_ids=ids)
    if "per_group" in groups:
        item.collective_device_list.iota_replica_group_list.num_replica_groups = 2
        item.collective_device_list.iota_replica_group_list.num_devices_per_group = groups["per_group"]
    return described(tmp_path, module)["psum.1"].hlo_category


def test_a_collective_over_groups_of_one_device_is_local(tmp_path: Path) -> None:
    assert collective(tmp_path, 1, listed=[[0]]) == "local all-reduce"
    assert collective(tmp_path, 2, listed=[[0], [1]]) == "local all-reduce"
    assert collective(tmp_path, 2, old=[[0], [1]]) == "local all-reduce"
    assert collective(tmp_path, 2, per_group=1) == "local all-reduce"
    assert collective(tmp_path, 1) == "local all-reduce"  # no group listed: all devices, here one


def test_a_collective_between_devices_stays_one(tmp_path: Path) -> None:
    assert collective(tmp_path, 2, listed=[[0, 1]]) == "all-reduce"
    assert collective(tmp_path, 4, old=[[0, 1], [2, 3]]) == "all-reduce"
    assert collective(tmp_path, 4, per_group=2) == "all-reduce"
    assert collective(tmp_path, 2) == "all-reduce"
    assert collective(tmp_path, 0) == "all-reduce"  # nothing is known


def test_the_nearest_program_of_that_name_that_holds_every_op_is_taken(tmp_path: Path) -> None:
    near, far = ModuleBuilder("jit_step"), ModuleBuilder("jit_step")
    near.add("main", "other.1", "add", "near")
    far.add("main", "add.1", "add", "far")
    holder = plane(tmp_path, ("jit_step(9)", near.proto.SerializeToString()), ("jit_step(20)", far.proto.SerializeToString()))
    found = load(holder, {8: ("jit_step", frozenset({"add.1"})), 30: ("jit_none", frozenset({"x"}))}, is_anchor)
    assert found == {8: Program(8, "jit_step", found[8].ops, exact=False)}
    assert found[8].ops["add.1"].scope == "far"
    assert load(None, {8: ("jit_step", frozenset())}, is_anchor) == {}


def test_an_hlo_module_that_does_not_parse_is_malformed(tmp_path: Path) -> None:
    holder = plane(tmp_path, ("jit_step(7)", b"\x0a\xff\xff"))
    with pytest.raises(Malformed, match=r"jit_step\(7\)"):
        load(holder, {7: ("jit_step", frozenset())}, is_anchor)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("jit_step_fun(254)", ("jit_step_fun", 254)),
        ("jit_f(12190760917235803885)", ("jit_f", 12190760917235803885)),
        ("jit_f", ("jit_f", -1)),
        ("odd(name)", ("odd(name)", -1)),
        ("jit_f(" + "9" * 5000 + ")", ("jit_f(" + "9" * 5000 + ")", -1)),
    ],
)
def test_program_names(name: str, expected: tuple[str, int]) -> None:
    assert split_program(name) == expected
