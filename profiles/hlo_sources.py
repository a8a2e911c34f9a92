"""Which functions of the model an instruction was written in, from the stack frames in a compiled module. Pure.

JAX writes the Python stack of every operation into the module it lowers; XLA keeps it on most instructions, and on those inside fusions.
For models whose scopes do not name their layers (tpu-inference's JAX-native ones), this says whose matrix product one is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from profiles import schema

_PRODUCTS = (b"dot", b"convolution")
_RENAMES = (b"bitcast", b"get-tuple-element", b"reshape", b"copy")
_MODEL_CALL = ".__call__"
_OWNER = re.compile(r".*?\w*(?:Attention|MLP|Mlp|MoE)(?=/|$)")  # the part of a layer
_PRODUCT_OF_ITS_OWNER = "JaxEinsum"  # what tpu-inference's matrix products are called


def source_scopes(module: Any) -> dict[str, str]:
    """Instruction -> the path of calls that it was written in, outermost first: "Qwen3Model/Qwen2DecoderLayer/Qwen2MLP". Of a fusion
    the matrix product in it decides, else the most common path inside, else its own. A product that lost its frames belongs to the part of
    the layer that uses it. Without an entry: nothing is known."""
    frames = _Frames(module.stack_frame_index)
    insides: dict[int, _Inside] = {}
    for part in module.computations:  # what is called stands before its caller
        insides[part.id] = _Inside.of(part, frames, insides)
    found: dict[str, str] = {}
    for part in module.computations:
        lost: list[Any] = []
        for item in part.instructions:
            inside = next((insides[each] for each in item.called_computation_ids if each in insides), None)
            fused = inside if item.opcode == b"fusion" else None
            path = fused.path if fused is not None and fused.path else frames.path(item.metadata.stack_frame_id)
            if fused.lost_product if fused is not None else item.opcode in _PRODUCTS and not path:
                lost.append(item)
            if path:
                found[schema.text(item.name)] = path
        found |= _owned(lost, part, found)
    return found


def _owned(lost: Sequence[Any], part: Any, found: Mapping[str, str]) -> dict[str, str]:
    """For products of unknown origin: the part of the layer that first uses what comes out, behind what only renames it."""
    users: dict[int, list[Any]] = {}
    for item in part.instructions if lost else ():
        for operand in item.operand_ids:
            users.setdefault(operand, []).append(item)
    owned = {}
    for product in lost:
        waiting = list(users.get(product.id, ()))
        while waiting:
            user = waiting.pop(0)
            owner = _OWNER.match(found.get(schema.text(user.name), ""))
            if owner is not None:
                owned[schema.text(product.name)] = f"{owner.group()}/{_PRODUCT_OF_ITS_OWNER}"
                break
            if user.opcode in _RENAMES:
                waiting += users.get(user.id, ())
    return owned


class _Inside(NamedTuple):
    """What a fused computation says: its path, whether it holds a matrix product, and one that does not say where it is from."""

    path: str
    product: bool
    lost_product: bool

    @classmethod
    def of(cls, part: Any, frames: _Frames, known: Mapping[int, _Inside]) -> Self:
        paths, products = [], []
        for item in part.instructions:
            inner = [known[each] for each in item.called_computation_ids if each in known]
            product = next((each for each in inner if each.product), None)
            path = frames.path(item.metadata.stack_frame_id)
            paths.append(path if product is None else product.path)
            if item.opcode in _PRODUCTS or product is not None:
                products.append("" if product is not None and product.lost_product else paths[-1])
        votes = Counter([path for path in products if path] or [path for path in paths if path])
        return cls(votes.most_common(1)[0][0] if votes else "", bool(products), bool(products) and not any(products))


class _Frames:
    """The module's table of frames: 1-based, each with its caller; 0 is none."""

    def __init__(self, index: Any) -> None:
        self._functions = [schema.text(name) for name in index.function_names]
        self._locations = index.file_locations
        self._frames = index.stack_frames
        self._paths: dict[int, str] = {}

    def path(self, frame: int) -> str:
        if frame not in self._paths:
            self._paths[frame] = "/".join(reversed(self._calls(frame)))
        return self._paths[frame]

    def _calls(self, frame: int) -> list[str]:
        """Calls of modules of the model, and functions that they call; innermost first. What is above the model is left out."""
        found: list[str] = []
        seen: set[int] = set()
        while 0 < frame <= len(self._frames) and frame not in seen:
            seen.add(frame)
            place = self._frames[frame - 1]
            name = self._name(place.file_location_id)
            if name:
                found.append(name.removesuffix(_MODEL_CALL))
            frame = int(place.parent_frame_id)
        calls = [index for index, name in enumerate(found) if name.endswith("ForCausalLM")]
        return found[: calls[0]] if calls else found

    def _name(self, location: int) -> str:
        if not 0 < location <= len(self._locations):
            return ""
        function = int(self._locations[location - 1].function_name_id)
        return self._functions[function - 1] if 0 < function <= len(self._functions) else ""
