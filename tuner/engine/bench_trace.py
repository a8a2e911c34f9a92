"""Writes a load plan as a trace that `vllm bench serve --dataset-name timed_trace` replays token by token.

    main() with sys.argv = [_, PLAN.json, FOLDER]      (a command of tuner.engine.command_host)

Only one of vLLM's datasets sends token ids, an output length and an arrival for every request: `timed_trace`. But its files have no field
for token ids. They have "hash ids": one for each chunk of a prompt, which seeds a random draw of the chunk's tokens from the tokenizer's
vocabulary. To get exactly the plan's tokens we

- make chunks of one token, so that each hash id stands for one token;
- write a tokenizer whose vocabulary is the plan's tokens (the client alone sees it: the server gets ids);
- search, for each token, a hash id whose draw is that token.

The draw uses Python's string hash, hence PYTHONHASHSEED=0 for this process and for the benchmark. Before anything is sent, vLLM's own
class reads the trace back, and what it gives must equal the plan.
Source: vllm/benchmarks/datasets/datasets.py, class TimedTrace, vLLM 0.32.0.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]
TRACE_FILE = "trace.jsonl"
TOKENIZER_FOLDER = "tokenizer"
CHUNK_TOKENS = 1
DRAWS_PER_TOKEN = 400  # far more than the coupon collector's ln(vocabulary) + a few


def hash_ids(tokens: Sequence[int]) -> dict[int, int]:
    """For each token id a hash id from which TimedTrace draws it. `tokens`: distinct, ascending. Raises RuntimeError if none is found."""
    missing = set(tokens)
    found: dict[int, int] = {}
    for number in itertools.count():
        if not missing:
            return found
        if number > DRAWS_PER_TOKEN * len(tokens):
            raise RuntimeError(f"no trace entry draws token {min(missing)}: this vLLM draws its prompts in another way")
        seed = hash(f"{number}:{CHUNK_TOKENS}") & 0xFFFFFFFF
        token = random.Random(seed).choices(tokens, k=1)[0]  # noqa: S311 - the very generator that TimedTrace uses
        if token in missing:
            missing.remove(token)
            found[token] = number
    raise AssertionError("unreachable")


def tokenizer_files(tokens: Sequence[int]) -> dict[str, Json]:
    """A tokenizer whose vocabulary is exactly `tokens`, as Hugging Face's files. The model's type only spares vLLM two seconds of looking
    for one."""
    vocabulary = {f"t{token}": token for token in tokens}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    return {
        "tokenizer.json": {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None,
            "decoder": None,
            "model": model,
        },
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
        "config.json": {"model_type": "gpt2"},
    }


def write_trace(requests: Sequence[Json], folder: Path) -> None:
    """`requests`: {"prompt": token ids, "max_tokens", "arrival_s"} in the order in which they are sent."""
    tokens = sorted({token for request in requests for token in request["prompt"]})
    ids = hash_ids(tokens)
    tokenizer = folder / TOKENIZER_FOLDER
    tokenizer.mkdir(parents=True, exist_ok=True)
    for name, content in tokenizer_files(tokens).items():
        (tokenizer / name).write_text(json.dumps(content), encoding="utf-8")
    lines = [
        json.dumps(
            {
                "timestamp": request["arrival_s"],
                "input_length": len(request["prompt"]),
                "output_length": request["max_tokens"],
                "hash_ids": [ids[token] for token in request["prompt"]],
            }
        )
        for request in requests
    ]
    (folder / TRACE_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_back(folder: Path, count: int) -> list[Json]:
    """The requests that `vllm bench serve` will make of the trace, by its own class and its own tokenizer loader."""
    from vllm.benchmarks.datasets.datasets import TimedTrace
    from vllm.tokenizers import get_tokenizer

    trace = TimedTrace(
        dataset_path=str(folder / TRACE_FILE),
        timed_trace_chunk_hash_size=CHUNK_TOKENS,
        timed_trace_sec_multiplier=1,
        timed_trace_label_timestamp="timestamp",
        timed_trace_label_input_length="input_length",
        timed_trace_label_output_length="output_length",
        timed_trace_label_hash_ids="hash_ids",
    )
    samples = trace.sample(get_tokenizer(str(folder / TOKENIZER_FOLDER)), count)
    return [{"prompt": sample.prompt, "max_tokens": sample.expected_output_len, "arrival_s": sample.timestamp} for sample in samples]


def main() -> None:
    """Exits with a message if the trace would not give back the plan."""
    requests, folder = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])
    write_trace(requests, folder)
    if read_back(folder, len(requests)) != requests:
        raise SystemExit("vllm bench serve would not send the requests of the plan: this vLLM reads timed_trace in another way")
