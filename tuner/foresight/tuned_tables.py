"""tpu-inference's own tuned tables of RPA v3, read as text: importing them takes ten seconds, and a machine without vLLM may have none.

They were measured by their authors. The one for heads of 64 is the installed kernel's; the other was made for an earlier kernel with one
block size for fetching and computing, and the installed kernel does not read it any more.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuner.foresight.tuned_blocks import Blocks, Tuned, tuned

_FOLDER = Path("kernels", "ragged_paged_attention", "v3")
_FILES = ("tuned_block_sizes.py", "tuned_block_sizes_hd64.py")
_NAME = "TUNED_BLOCK_SIZES"
_LANES = 128  # heads of other sizes are padded to these, but for those of 64, which have a kernel of their own
_PACKED = 2  # bfloat16 in 32 bits

TPU_NAMES = {"v5e": "TPU v5e", "v6e": "TPU v6e", "7x": "TPU v7"}  # ours -> the tables'


def installed_entries() -> list[Tuned]:
    """Of this Python's tpu-inference; empty where there is none, or where its tables have another form."""
    spec = importlib.util.find_spec("tpu_inference")
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    return [entry for place in places for file in _FILES for entry in entries_of(Path(place) / _FOLDER / file)]


def entries_of(file: Path) -> list[Tuned]:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return []
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == _NAME for target in node.targets):
            try:
                return tuned(_rows(ast.literal_eval(node.value), ()))
            except (ValueError, TypeError, KeyError):
                return []
    return []


def _rows(table: Any, path: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """Nested keys TPU, page, types, heads, length -> rows as tuned() reads them. Raises TypeError for another form."""
    if isinstance(table, Mapping):
        for key, below in table.items():
            yield from _rows(below, (*path, str(key)))
        return
    pages, queries = table
    yield {"tpu": path[0], "path": "/".join(path[1:]), "value": f"{pages} {queries}"}


def entry_for(entries: Sequence[Tuned], asked: Tuned) -> Tuned | None:
    """The entry of a shape: of the same TPU, page, types and heads, the shortest max_model_len that reaches `asked`'s, else the longest.
    Heads are rounded as get_simplified_raw_key (tuned_block_sizes.py) does. `asked.winner` is not looked at."""
    key = _key(asked)
    same = sorted((entry for entry in entries if _key(entry) == key), key=lambda entry: entry.max_model_len)
    return next((entry for entry in same if entry.max_model_len >= asked.max_model_len), same[-1] if same else None)


def _key(shape: Tuned) -> Tuned:
    group = -(-shape.query_heads // shape.kv_heads)
    group += group % _PACKED
    head = shape.head_size if shape.head_size == _LANES // 2 else -(-shape.head_size // _LANES) * _LANES
    kv_heads = _power(shape.kv_heads)
    return replace(
        shape,
        page=_power(shape.page),
        query_heads=_power(group * shape.kv_heads),
        kv_heads=kv_heads,
        head_size=head,
        max_model_len=0,
        winner=Blocks(0, 0),
    )


def _power(value: int) -> int:
    return 1 << (value - 1).bit_length()
