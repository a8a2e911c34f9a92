"""What does the page size change in the code that libtpu makes of RPA's kernels? Compiled for a TPU that is not here; nothing is run.

    python -m bench.foresee_pages [--accelerator v6e-1] [--pages 16,64,256] [--tokens 2048] [--model FILE]

One layer of the model (Qwen3-8B by default: 8 KV heads of 128) at each page size and tpu-inference's default block sizes, by the code of
`tuner foresee profile`. Exit status 1 where on v6e the decode kernel is not what it was when it was first looked at.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

from bench.foresee_table import CONFIGS
from tuner.cli.tables import text_table
from tuner.core.numbers import number
from tuner.foresight.bundles import BUNDLES, FILLS, MATMULS, SCALAR, SPILLS
from tuner.foresight.compiler import Compiler
from tuner.foresight.installed import installed
from tuner.foresight.kept import KeptAnswers
from tuner.foresight.look import Look
from tuner.foresight.profile_difference import difference, family
from tuner.foresight.sides import side_of
from tuner.foresight.static_profile import StaticProfile

# v6e, decode kernel, libtpu 0.0.48, tpu-inference 0.32.0: page size -> (bundles, scalar operations).
KNOWN = {16: (12193, 7408), 64: (9377, 2224), 256: (8673, 928)}
_SHOWN = (BUNDLES, SCALAR, MATMULS, SPILLS, FILLS)


def profiles(args: argparse.Namespace) -> dict[int, StaticProfile]:
    found = {}
    with Compiler(None) as compiler:
        look = Look(compiler, KeptAnswers(), installed(None), lambda line: print(line, file=sys.stderr, flush=True))
        for page in map(int, args.pages.split(",")):
            settings = {"page_size": page, "chunk_budget": args.tokens, "max_model_len": args.max_model_len, "layers": 1}
            found[page] = look.at(side_of({"model": str(args.model), "accelerator": args.accelerator, **settings}))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", default="v6e-1")
    parser.add_argument("--pages", default="16,64,256")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--max-model-len", type=int, default=8192)
    parser.add_argument("--model", type=Path, default=CONFIGS / "Qwen--Qwen3-8B_config.json")
    args = parser.parse_args()
    found = profiles(args)
    kernels = [(family(row.name), page, row.code) for page, profile in found.items() for row in profile.kernels]
    kernels.sort(key=lambda each: each[:2])
    rows = [[kernel, str(page), *(number(code.get(label, 0), 7) for label in _SHOWN)] for kernel, page, code in kernels]
    print(text_table(["kernel", "page", "bundles", "scalar", "MXU packed", "VMEM spills", "fills"], rows))
    pages = list(found)
    for one, other in pairwise(pages):
        for pair in difference(found[one], found[other]).pairs:
            print(f"{pair.kernel}, page {one} against {other}: {'; '.join(pair.reasons)}")
    print("; ".join(f"page {page}: {profile.seconds:.0f} s, dump {profile.dump_bytes / 1e6:.1f} MB" for page, profile in found.items()))
    return 0 if not args.accelerator.startswith("v6e") or _as_known(found) else 1


def _as_known(found: dict[int, StaticProfile]) -> bool:
    same = True
    for page in KNOWN.keys() & found.keys():
        decode = next(row.code for row in found[page].kernels if row.name.startswith("RPAd"))
        seen = (decode.get(BUNDLES), decode.get(SCALAR))
        if seen != KNOWN[page]:
            print(f"page {page}: decode kernel {seen}, known were {KNOWN[page]}")
            same = False
    return same


if __name__ == "__main__":
    sys.exit(main())
