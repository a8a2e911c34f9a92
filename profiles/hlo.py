"""What the HLO modules inside a profile say about each instruction: its scope, its category and what it computes from.

A scope is `metadata.op_name`, the path of jitted functions, named scopes and the JAX primitive, e.g.
`jit(step_fun)/jit(main)/layers.0/mlp/dot_general`. Compilers drop it on some instructions; it is then taken from, in this order,
the majority of the fused instructions, or the instruction that calls the computation (a `while` around its body).
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from profiles import schema
from profiles.planes import Plane, parse
from profiles.wire import Malformed

METADATA_PLANE = "/host:metadata"
_LOOPS = frozenset({"while", "conditional"})
_CONTAINERS = _LOOPS | {"call"}
_FREE = frozenset({"parameter", "constant", "bitcast", "tuple", "get-tuple-element"})  # cost nothing, so they have no vote
_MOVES = frozenset(
    {"copy", "transpose", "reshape", "slice", "dynamic-slice", "pad", "concatenate", "broadcast", "iota", "reverse", "convert", *_FREE}
)
_COLLECTIVES = re.compile(r"^(all-reduce|all-gather|all-to-all|reduce-scatter|collective-|ragged-all-to-all)")
LOCAL = "local "  # before the opcode of a collective that moves nothing between devices
_CONTEXT_STEPS = 200  # instructions looked at on the way back to a producer whose scope is known
_MODULE_CONTEXT_STEPS = 500_000  # operands looked at in one module: a real step program of 10,000 instructions needs a tenth of that


@dataclass(frozen=True)
class HloOp:
    """One instruction. `context` is the scope of the nearest producer that is an anchor (see `load`), "" where there is none."""

    name: str
    hlo_category: str  # XLA's words: "loop fusion", "convolution fusion", "data formatting", "custom-call", else the opcode; see LOCAL
    scope: str
    context: str
    container: bool  # its time is spent in other instructions
    in_loop: bool  # runs any number of times, also none: the body of a while or a branch


@dataclass(frozen=True)
class Program:
    """One compiled module; `exact` is False where it was found by its name because the profile lists it under another id."""

    program_id: int
    module: str
    ops: Mapping[str, HloOp]
    exact: bool


Anchor = Callable[[str], bool]


def split_program(name: str) -> tuple[str, int]:
    """`jit_step_fun(254)` -> ("jit_step_fun", 254); id -1 where the name carries none."""
    module, bracket, rest = name.rpartition("(")
    digits = rest.rstrip(")")
    is_id = bracket and digits.isdecimal() and len(digits) <= 20
    return (module, int(digits) & 0xFFFFFFFFFFFFFFFF) if is_id else (name, -1)


def load(plane: Plane | None, wanted: Mapping[int, tuple[str, frozenset[str]]], is_anchor: Anchor) -> dict[int, Program]:
    """The programs in `wanted`: program id -> (module name, instruction names seen in the trace). What is missing is left out.

    A program that XLA:CPU took from its compilation cache runs under another id than its listed one: it is then found by name, where one
    of that name holds every instruction seen (the nearest id, if several do). Raises Malformed.
    """
    if plane is None:
        return {}
    listed: dict[str, dict[int, int]] = {}  # module -> program id -> index of its entry
    for index, item in enumerate(plane.event_metadata):
        module, program_id = split_program(_entry_name(plane, index))
        if item.end > item.start:
            listed.setdefault(module, {})[program_id] = index
    found: dict[int, Program] = {}
    for program_id, (module, seen) in wanted.items():
        candidates = listed.get(module, {})
        for candidate in sorted(candidates, key=lambda other: abs(other - program_id)):
            raw = _hlo_proto(plane, candidates[candidate])
            if raw is None:
                continue
            instructions = _Module(raw, is_anchor)
            if candidate == program_id or instructions.holds(seen):
                found[program_id] = Program(program_id, module, instructions.describe(seen), candidate == program_id)
                break
    return found


def describe(module: Any, names: frozenset[str], is_anchor: Anchor) -> dict[str, HloOp]:
    """The instructions of a module (schema.HloModule) that no profile lists, because it never ran."""
    return _Module(module, is_anchor).describe(names)


def _entry_name(plane: Plane, index: int) -> str:
    return schema.text(parse(schema.EventMetadataEntry, plane.source, plane.event_metadata[index]).value.name)


def _hlo_proto(plane: Plane, index: int) -> Any:
    """The HloModule of an entry, or None where it carries none."""
    entry = parse(schema.EventMetadataEntry, plane.source, plane.event_metadata[index])
    for stat in entry.value.stats:
        if stat.HasField("bytes_value"):
            try:
                return schema.HloProto.FromString(stat.bytes_value).hlo_module
            except DecodeError as error:
                raise Malformed(f"the HLO of {schema.text(entry.value.name)} does not parse ({error})") from None
    return None


class _Home(NamedTuple):
    """What an instruction inherits from around its computation."""

    scope: str
    in_loop: bool


class _Inside(NamedTuple):
    """What is inside the computations that one instruction calls: the most common scope, and all opcodes."""

    majority: str
    opcodes: frozenset[str]


class _Module:
    """Look-ups inside one HLO module."""

    def __init__(self, raw: Any, is_anchor: Anchor) -> None:
        self._is_anchor = is_anchor
        self._computations = {part.id: part for part in raw.computations}
        self._one_device = raw.device_assignment.replica_count * raw.device_assignment.computation_count == 1
        self._home: dict[str, int] = {}  # instruction -> computation id
        self._by_name: dict[str, Any] = {}
        self._by_id: dict[int, Any] = {}
        self._caller: dict[int, Any] = {}  # computation id -> the instruction that calls it
        self._homes: dict[int, _Home] = {}
        self._insides: dict[tuple[int, ...], _Inside] = {}
        self._context_steps_left = _MODULE_CONTEXT_STEPS
        for part in raw.computations:
            for item in part.instructions:
                name = schema.text(item.name)
                self._home[name], self._by_name[name], self._by_id[item.id] = part.id, item, item
                for called in item.called_computation_ids:
                    self._caller.setdefault(called, item)

    def holds(self, names: frozenset[str]) -> bool:
        return names <= self._by_name.keys()

    def describe(self, names: frozenset[str]) -> dict[str, HloOp]:
        return {name: self._describe(self._by_name[name]) for name in sorted(names & self._by_name.keys())}

    def _describe(self, item: Any) -> HloOp:
        opcode = schema.text(item.opcode)
        return HloOp(
            schema.text(item.name),
            self._category(item, opcode),
            self._scope(item),
            self._context(item),
            opcode in _CONTAINERS,
            self._in_loop(item),
        )

    def _scope(self, item: Any) -> str:
        return self._own_scope(item) or self._home_of(item).scope

    def _in_loop(self, item: Any) -> bool:
        return self._home_of(item).in_loop

    def _own_scope(self, item: Any) -> str:
        return schema.text(item.metadata.op_name) or self._fused_majority(item)

    def _home_of(self, item: Any) -> _Home:
        """What the callers of the item's computation say, each computation asked once: outwards to the first that is known, and back."""
        path: list[int] = []
        current: int | None = self._home[schema.text(item.name)]
        while current is not None and current not in self._homes:
            self._homes[current] = _Home("", False)  # computations that call each other end here
            path.append(current)
            caller = self._caller.get(current)
            current = self._home[schema.text(caller.name)] if caller is not None else None
        for computation in reversed(path):
            caller = self._caller.get(computation)
            if caller is not None:
                around = self._homes[self._home[schema.text(caller.name)]]
                loops = schema.text(caller.opcode) in _LOOPS or around.in_loop
                self._homes[computation] = _Home(self._own_scope(caller) or around.scope, loops)
        return self._homes[self._home[schema.text(item.name)]]

    def _fused_majority(self, item: Any) -> str:
        if schema.text(item.opcode) in _LOOPS:
            return ""  # the bodies speak for themselves
        return self._inside(item).majority

    def _inside(self, item: Any) -> _Inside:
        """What the computations called by an instruction hold; looked at once, however many call them."""
        called = tuple(item.called_computation_ids)
        if called not in self._insides:
            parts = (self._computations.get(each) for each in called)
            inner = [(schema.text(each.opcode), each.metadata.op_name) for part in parts if part is not None for each in part.instructions]
            votes = Counter(scope for opcode, scope in inner if scope and opcode not in _FREE)
            majority = schema.text(votes.most_common(1)[0][0]) if votes else ""
            self._insides[called] = _Inside(majority, frozenset(opcode for opcode, _ in inner))
        return self._insides[called]

    def _category(self, item: Any, opcode: str) -> str:
        if _COLLECTIVES.match(opcode) and self._stays_on_its_device(item):
            return LOCAL + opcode
        if opcode != "fusion":
            return opcode
        inner = self._inside(item).opcodes
        if inner & {"dot", "convolution"}:
            return "convolution fusion"
        return "data formatting" if inner <= _MOVES else "loop fusion"

    def _stays_on_its_device(self, item: Any) -> bool:
        """A collective whose groups hold one device each: shard_map leaves it on a single device, and XLA:CPU runs it as a copy."""
        listed = item.collective_device_list
        sizes = {len(group.replica_ids) for group in (*listed.replica_groups, *item.replica_groups)}
        if listed.HasField("iota_replica_group_list"):
            sizes.add(listed.iota_replica_group_list.num_devices_per_group)
        return sizes == {1} or (not sizes and self._one_device)  # no group listed means all devices

    def _context(self, item: Any) -> str:
        """Breadth first through the operands; instructions under the same scope folder are part of the same thing and let pass."""
        own = _folder(self._scope(item))
        queue, seen = deque(item.operand_ids), set(item.operand_ids)
        for _ in range(_CONTEXT_STEPS):
            if not queue or self._context_steps_left < 0:
                return ""
            producer = self._by_id.get(queue.popleft())
            if producer is None:
                continue
            self._context_steps_left -= 1 + len(producer.operand_ids)
            scope = self._own_scope(producer)
            if scope and _folder(scope) != own and self._is_anchor(scope):
                return scope
            fresh = [each for each in producer.operand_ids if each not in seen]
            seen.update(fresh)
            queue.extend(fresh)
        return ""


def _folder(scope: str) -> str:
    return scope.rpartition("/")[0]
