"""What the TPU compiler makes of token-wise and page-wise KV writes. Needs libtpu (it comes with vllm-tpu) and no TPU.

    python -m bench.kv_write_tpu [--chips v5e,v6e,7x] [--page-sizes 16,64,256] [--tokens 2048] [--kv-heads 8] [--xla] [--json]

The two Pallas kernels of backend TUNER_RPA, in the stock kernel's cache layout (bfloat16, heads of 128), for one prefill of so many tokens:
copies, bundles of one turn of the loop that starts them, and both multiplied. A bundle takes at least a cycle of the one scalar core, which
starts all copies; how long the copies themselves take, no compiler says. With --xla instead one layer (projections, write and attention) of
backend TUNER_XLA in the demo's shapes (float32, heads of 64): its temporaries, in copies of the cache. Nothing here is a time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tuner.core.errors import BadInput
from tuner.foresight.compiler import compiling_environment
from tuner.foresight.target import target_of

os.environ.update(compiling_environment(target_of("v6e-4", 1), "/"))  # before JAX: no device of this machine is looked for

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from bench.kv_write_in_step import GROUP, REQUESTS, step_program
from bench.lib.bundles import DUMP_FLAGS, copying_loops, listing_of
from bench.lib.options import numbers
from tuner.foresight.pretence import Shape, Spec, topology_devices
from tuner.vllm_plugin.kv_write import Batch, interleave_kv, write_pages, write_tokens
from tuner.vllm_plugin.kv_write_tpu import write_pages_by_dma, write_tokens_by_dma

Json = dict[str, Any]

HEAD_DIM, PACKING = 128, 2  # bfloat16
CACHE_TOKENS = 65536
DMA = {"token": (write_tokens_by_dma, "tuner_token_kernel"), "page": (write_pages_by_dma, "tuner_page_kernel")}
XLA = {"token scatter": (write_tokens, "scatter"), "token loop": (write_tokens, "loop"), "page loop": (write_pages, "loop")}

DMA_HEAD = (
    "| chip | page | token-wise: copies | bundles a copy | bundles | temporaries, MiB | page-wise: copies | bundles a copy | bundles | "
    "temporaries, MiB |\n" + "|---" * 10 + "|"
)
XLA_HEAD = f"| chip | {' | '.join(XLA)} |\n" + "|---" * (1 + len(XLA)) + "|"


class Chip:
    """Compiles for one device of a TPU that is not here."""

    def __init__(self, name: str, dump: Path) -> None:
        """Raises BadInput for an unknown chip."""
        device = topology_devices(target_of(name, 1).topology)[0]
        self.name = name
        self._where = NamedSharding(Mesh(np.array([device]), ("x",)), Spec())
        self._dump = dump

    def shape(self, *size: int, dtype: Any = jnp.int32) -> Any:
        return Shape(size, dtype, sharding=self._where)

    def batch(self, table_width: int) -> Batch:
        shape = self.shape
        return Batch(shape(REQUESTS, table_width), shape(REQUESTS), shape(REQUESTS + 1), shape(), shape())

    def compile(self, function: Callable[..., Any], *shapes: Any, kernel: str | None = None) -> tuple[Any, str | None]:
        """(the compiler's memory analysis, the kernel's listing); the first argument is donated. Leaves no dump behind."""
        stats = jax.jit(function, donate_argnums=0).lower(*shapes).compile().memory_analysis()
        listing = None if kernel is None else listing_of(self._dump, kernel)
        for path in self._dump.iterdir():
            path.unlink()
        return stats, listing


def dma_row(chip: Chip, page_size: int, tokens: int, kv_heads: int) -> Json:
    """Both kernels: what compiles, and the numbers for a prefill of `tokens`."""
    row_shape = (2 * kv_heads // PACKING, PACKING, HEAD_DIM)
    cache = chip.shape(CACHE_TOKENS // page_size, page_size, *row_shape, dtype=jnp.bfloat16)
    heads = chip.shape(tokens, kv_heads, HEAD_DIM, dtype=jnp.bfloat16)
    row: Json = {"chip": chip.name, "page_size": page_size, "tokens": tokens}
    for form, (write, kernel) in DMA.items():

        def run(cache: Any, k: Any, v: Any, batch: Batch, write: Callable[..., Any] = write) -> Any:
            return write(cache, interleave_kv(k, v).reshape(tokens, *row_shape), batch)

        stats, listing = chip.compile(run, cache, heads, heads, chip.batch(-(-tokens // page_size)), kernel=kernel)
        loops = [] if listing is None else copying_loops(listing)
        copies = tokens if form == "token" else -(-tokens // page_size)
        row[form] = {
            "copies": copies,
            "bundles_a_copy": loops[-1] if loops else None,
            "bundles": loops[-1] * copies if loops else None,
            "code_bytes": stats.generated_code_size_in_bytes,
            "temporary_bytes": stats.temp_size_in_bytes,
            "cache_copied": stats.alias_size_in_bytes < CACHE_TOKENS * 2 * kv_heads * HEAD_DIM * 2,
        }
    return row


def xla_row(chip: Chip, page_size: int = 32, tokens: int = 256, kv_heads: int = 2, head_dim: int = 64) -> Json:
    """Temporaries of one layer of the demo's model by form of the write, in bytes and in copies of the cache."""
    cache = chip.shape(CACHE_TOKENS // page_size, page_size, 2 * kv_heads, head_dim, dtype=jnp.float32)
    width = GROUP * kv_heads * head_dim
    shape = [chip.shape(*size, dtype=jnp.float32) for size in ((tokens, width), (width, width + 2 * kv_heads * head_dim), (width, width))]
    cache_bytes = CACHE_TOKENS * 2 * kv_heads * head_dim * 4
    row: Json = {"chip": chip.name, "page_size": page_size, "tokens": tokens, "cache_bytes": cache_bytes}
    for form, (write, implementation) in XLA.items():
        program = step_program(write, implementation, kv_heads, head_dim)
        stats, _ = chip.compile(program, [cache], shape[0], chip.batch(64), [(shape[1], shape[2])])
        row[form] = {"temporary_bytes": stats.temp_size_in_bytes, "copies_of_the_cache": round(stats.temp_size_in_bytes / cache_bytes, 2)}
    return row


def dma_cells(row: Json) -> str:
    def cell(form: str) -> str:
        found = row[form]
        bundles = "- | -" if found["bundles"] is None else f"{found['bundles_a_copy']} | {found['bundles']:,}"
        return f"{found['copies']:,} | {bundles} | {found['temporary_bytes'] / 2**20:.2f}"

    return f"| {row['chip']} | {row['page_size']} | {cell('token')} | {cell('page')} |"


def xla_cells(row: Json) -> str:
    return f"| {row['chip']} | " + " | ".join(f"{row[form]['copies_of_the_cache']:.2f}" for form in XLA) + " |"


def rows(args: argparse.Namespace, dump: Path) -> Iterator[Json]:
    """As they are known. Raises BadInput for an unknown chip."""
    for chip in [Chip(name, dump) for name in args.chips.split(",")]:
        if args.xla:
            yield xla_row(chip)
            continue
        for page_size in args.page_sizes:
            yield dma_row(chip, page_size, args.tokens, args.kv_heads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", default="v5e,v6e,7x")
    parser.add_argument("--page-sizes", type=numbers, default=[16, 64, 256])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    dump = Path(tempfile.mkdtemp(prefix="tuner-kv-write-"))
    if not args.xla:  # a whole layer's dump is hundreds of MB
        os.environ["LIBTPU_INIT_ARGS"] = " ".join(filter(None, [os.environ.get("LIBTPU_INIT_ARGS"), DUMP_FLAGS.format(folder=dump)]))
    try:
        if not args.json:
            print(XLA_HEAD if args.xla else DMA_HEAD)
        for row in rows(args, dump):
            print(json.dumps(row) if args.json else xla_cells(row) if args.xla else dma_cells(row), flush=True)
    except BadInput as error:
        parser.error(str(error))
    finally:
        shutil.rmtree(dump, ignore_errors=True)


if __name__ == "__main__":
    main()
