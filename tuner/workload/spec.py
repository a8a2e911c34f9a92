"""What is sent to the engine, written down: a workload's specification, and the exact requests that follow from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from tuner.core.contract import LoadPlan, PlannedRequest
from tuner.core.errors import BadInput
from tuner.core.refusals import refusal
from tuner.core.yaml_file import read_yaml
from tuner.workload.arrivals import bursts, gamma_arrivals, ramp
from tuner.workload.builtin import BUILTIN
from tuner.workload.features import block_keys, infinite_cache_hit_rate, plan_features
from tuner.workload.inline import DRAWN_AS, KINDS, LOAD_KEYS, bad_workload, inline_mapping, is_inline
from tuner.workload.lengths import draw_lengths
from tuner.workload.mix import mixed_lengths, mixed_prompts
from tuner.workload.prompts import Stream, Tokens, block_prompts, grouped_prompts, stream
from tuner.workload.readers import read_recording
from tuner.workload.sessions import SessionTurn, Turns, interleaved, session_prompts, session_turns, timed
from tuner.workload.sources import (
    DRAWN,
    BlockSource,
    ConversationsSource,
    FileSource,
    Load,
    MixSource,
    SessionsSource,
    Source,
    StrictModel,
    SyntheticSource,
    TraceSource,
)
from tuner.workload.trace import RecordedRequest, candidates, fitting

# A plan is held in memory, at about 40 bytes a token.
MAX_PLAN_TOKENS = 50_000_000
MAX_PLAN_REQUESTS = 1_000_000
_LATER: Mapping[str, Mapping[str, Any]] = {"load": {"ramp_to": None, "burst": None}, "source": {"turns": 1, "think_s": 0.0}}


class WorkloadSpec(StrictModel):
    """A workload: where its requests come from, how they are sent, and the seed that fixes everything random.

    `load` may be left out only for traces with times (azure, mooncake, bailian, burstgpt, columns with `time`): then requests arrive when
    they were recorded.
    """

    name: Annotated[str, Field(min_length=1)] = "custom"
    seed: Annotated[int, Field(ge=0)] = 0
    source: Source
    load: Load | None = None

    @model_validator(mode="after")
    def _sendable(self) -> Self:
        if self.load is None and not (isinstance(self.source, TraceSource) and self.source.has_times):
            raise ValueError(f"a {self.source.kind} workload has no arrival times: add load with max_concurrency or request_rate")
        waits = isinstance(self.source, SessionsSource | ConversationsSource) and self.source.think_s > 0
        if waits and self.load is not None and self.load.max_concurrency is not None:
            raise ValueError("think_s needs arrivals at a rate: a closed loop (concurrency) has no think time")
        return self

    @classmethod
    def parse(cls, text: str) -> WorkloadSpec:
        """A built-in name, a YAML or JSON file, or the one-line form of tuner.workload.inline. Raises BadInput."""
        if text in BUILTIN:
            return cls.from_mapping({"name": text, **BUILTIN[text]}, text)
        if is_inline(text):
            return cls.from_mapping(inline_mapping(text), text)
        path = Path(text)
        if path.suffix in (".yaml", ".yml", ".json") or path.is_file():
            return cls.from_mapping(
                {"name": path.stem, **read_yaml(path, what="workload file", holds="keys such as source and load")}, text
            )
        raise BadInput(
            "is unknown",
            setting="workload",
            value=repr(text),
            fix=f"use one of {', '.join(BUILTIN)}, a .yaml or .json file, or {'|'.join(KINDS)}:key=value,...",
        )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], origin: str = "") -> WorkloadSpec:
        """Check plain data; `origin` is what messages call it. Inverse of `to_json`. Raises BadInput naming the first bad key."""
        try:
            return cls.model_validate(dict(mapping))
        except ValidationError as error:
            raise bad_workload(origin or mapping.get("name", "custom"), *_first_problem(error)) from error

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, as storage.records.Workload keeps it: what came later is left out where it is not used, so that the same workload
        reads the same as before."""
        plain = self.model_dump(mode="json")
        for part, unused in _LATER.items():
            for name, value in unused.items():
                if plain[part] and plain[part].get(name, value) == value and plain["source"]["kind"] != "sessions":
                    plain[part].pop(name, None)
        return plain

    def plan(self, vocab_size: int, max_model_len: int) -> LoadPlan:
        """The exact requests for an engine: the same spec, seed and arguments give the same plan in every process.

        Token ids are in [0, `vocab_size`). Raises BadInput if a synthetic request does not fit `max_model_len` tokens (input + output),
        if nothing of a trace fits, and if the plan would be too large to hold.
        """
        requests = self._planned(max_model_len)
        total = sum(request.input_tokens for request in requests)
        if total > MAX_PLAN_TOKENS:
            reason = f"{total} prompt tokens, at most {MAX_PLAN_TOKENS} can be planned"
            raise bad_workload(self.name, reason, "lower the number of requests")
        max_concurrency = self.load.max_concurrency if self.load else None
        planned = tuple(
            PlannedRequest(f"r{index:05d}", tuple(tokens.tolist()), request.output_tokens, arrival_s)
            for index, (request, tokens, arrival_s) in enumerate(
                zip(requests, self._prompts(requests, vocab_size), self._arrivals(requests), strict=True)
            )
        )
        return LoadPlan(planned, max_concurrency, content_hash(planned, max_concurrency))

    def longest_request(self, max_model_len: int) -> int:
        """Tokens (input + output) of the longest request of a plan for `max_model_len`. Raises as `plan`."""
        requests = self._planned(max_model_len)
        return max(request.input_tokens + request.output_tokens for request in requests)

    def warnings(self, plan: LoadPlan, max_model_len: int) -> list[str]:
        """One line for each thing about this spec's `plan` that its user has to know."""
        if not isinstance(self.source, FileSource):
            return []
        recording = read_recording(self.source)
        total = len(candidates(recording.requests, self.source))
        left_out, found = 0 if self._has_sessions else total - len(plan.requests), []
        if left_out:
            limits = ", ".join(f"{name} {value}" for name, value in self._length_limits(max_model_len).items())
            ways = "raise max_model_len, or set max_input_tokens and max_output_tokens with too_long: clip"
            found.append(f"{left_out} of {total} requests ({left_out / total:.0%}) are longer than {limits} and left out; {ways}")
        if recording.bad_rows:
            found.append(f"{recording.bad_rows} rows of {self.source.path} cannot be read and are left out (bad_rows: skip)")
        if recording.failed:
            found.append(f"{recording.failed} requests of {self.source.path} had failed when they were recorded and are left out")
        if isinstance(self.source, ConversationsSource):
            found.append(f"lengths are estimated: {self.source.chars_per_token:g} characters a token")
        return [f"workload {self.name!r}: {line}" for line in found]

    def _length_limits(self, max_model_len: int) -> dict[str, int]:
        assert isinstance(self.source, FileSource)
        given = {"max_input_tokens": self.source.max_input_tokens, "max_output_tokens": self.source.max_output_tokens}
        own = {name: value for name, value in given.items() if value is not None and self.source.too_long == "skip"}
        return {"max_model_len": max_model_len, **own}

    def summary(self, plan: LoadPlan) -> dict[str, Any]:
        """Features of this spec's `plan` (tuner.workload.features.plan_features); for files also how many requests were skipped.

        For traces with block ids `block_hit_rate` is what a prefix cache of such blocks that never forgets would hit.
        """
        summary = {"kind": self.source.kind, **plan_features(plan.requests, plan.max_concurrency)}
        if self._has_sessions:
            summary["sessions"] = len(self._sessions())
        elif isinstance(self.source, FileSource):
            recording = read_recording(self.source)
            summary["skipped"] = len(candidates(recording.requests, self.source)) - len(plan.requests)
            summary |= {name: count for name, count in (("bad_rows", recording.bad_rows), ("failed", recording.failed)) if count}
        if isinstance(self.source, BlockSource):
            size = self.source.block_tokens
            summary["block_hit_rate"] = infinite_cache_hit_rate(block_keys(request.prompt_token_ids, size) for request in plan.requests)
        return summary

    def _planned(self, max_model_len: int) -> Sequence[RecordedRequest | SessionTurn]:
        drawn = DRAWN.get(type(self.source))
        if drawn is not None:
            self._refuse_too_many(getattr(self.source, drawn))
        return self._turns(max_model_len) if self._has_sessions else self._requests(max_model_len)

    def _refuse_too_many(self, requests: int) -> None:
        """Before they are drawn: raises BadInput where there are more than can be held."""
        if requests > MAX_PLAN_REQUESTS:
            raise bad_workload(self.name, f"{requests} requests, at most {MAX_PLAN_REQUESTS} can be planned", "lower their number")

    @property
    def _has_sessions(self) -> bool:
        return isinstance(self.source, SessionsSource) or (isinstance(self.source, ConversationsSource) and self.source.turns > 1)

    def _sessions(self) -> list[Turns]:
        source = self.source
        if isinstance(source, ConversationsSource):
            chosen = candidates(read_recording(source).requests, source)
            return [((item.input_tokens, item.output_tokens), *item.later) for item in chosen]
        assert isinstance(source, SessionsSource)
        counts = draw_lengths(source.turns, source.sessions, stream(self.seed, Stream.TURNS))
        self._refuse_too_many(sum(counts))
        questions = draw_lengths(source.input, sum(counts), stream(self.seed, Stream.INPUT_LENGTHS))
        answers = draw_lengths(source.output, sum(counts), stream(self.seed, Stream.OUTPUT_LENGTHS))
        drawn = zip(questions, answers, strict=True)
        return [tuple(islice(drawn, count)) for count in counts]

    def _turns(self, max_model_len: int) -> list[SessionTurn]:
        """In the order in which they are sent."""
        source, load = self.source, self.load
        assert isinstance(source, SessionsSource | ConversationsSource)
        assert load is not None
        sessions = [turns for turns in session_turns(self._sessions(), self._shared_prefix, max_model_len) if turns]
        if not sessions:
            raise bad_workload(self.name, f"no session's first turn fits max_model_len {max_model_len}", "raise it, or shorten the turns")
        if load.max_concurrency is not None:
            return interleaved(sessions, load.max_concurrency)
        turns_each = sum(map(len, sessions)) / len(sessions)
        return timed(sessions, self._drawn_arrivals(len(sessions), float(load.request_rate or 0) / turns_each), source.think_s, self.seed)

    @property
    def _shared_prefix(self) -> int:
        return self.source.shared_prefix if isinstance(self.source, SessionsSource) else 0

    def _requests(self, max_model_len: int) -> list[RecordedRequest]:
        if isinstance(self.source, SyntheticSource):
            return self._draw(self.source, max_model_len)
        if isinstance(self.source, MixSource):
            return self._fitting(mixed_lengths(self.source, self.seed), max_model_len)
        assert isinstance(self.source, FileSource)
        return self._replay(self.source, max_model_len)

    def _draw(self, source: SyntheticSource, max_model_len: int) -> list[RecordedRequest]:
        inputs = draw_lengths(source.input, source.num_prompts, stream(self.seed, Stream.INPUT_LENGTHS))
        outputs = draw_lengths(source.output, source.num_prompts, stream(self.seed, Stream.OUTPUT_LENGTHS))
        return self._fitting(list(zip(inputs, outputs, strict=True)), max_model_len)

    def _fitting(self, lengths: Sequence[tuple[int, int]], max_model_len: int) -> list[RecordedRequest]:
        longest = max(lengths, key=sum)
        if sum(longest) > max_model_len:
            reason = f"a request of {longest[0]} + {longest[1]} tokens does not fit max_model_len {max_model_len}"
            raise bad_workload(self.name, reason, "raise max_model_len or lower the source's input or output")
        return [RecordedRequest(0.0, *pair) for pair in lengths]

    def _replay(self, source: FileSource, max_model_len: int) -> list[RecordedRequest]:
        chosen = candidates(read_recording(source).requests, source)
        requests = fitting(chosen, source, max_model_len)
        if not requests:
            reason = f"none of {len(chosen)} requests of {source.path} fits max_model_len {max_model_len}"
            raise bad_workload(self.name, reason, "raise it, or set max_input_tokens with too_long: clip")
        return requests

    def _prompts(self, requests: Sequence[RecordedRequest | SessionTurn], vocab_size: int) -> list[Tokens]:
        if self._has_sessions:
            turns = [request for request in requests if isinstance(request, SessionTurn)]
            return session_prompts(turns, self._sessions(), self._shared_prefix, vocab_size, self.seed)
        lengths = [request.input_tokens for request in requests]
        if isinstance(self.source, BlockSource):
            ids = [request.block_ids for request in requests if isinstance(request, RecordedRequest)]
            return block_prompts(lengths, ids, self.source.block_tokens, vocab_size, self.seed)
        if isinstance(self.source, MixSource):
            return mixed_prompts(self.source, lengths, vocab_size, self.seed)
        if isinstance(self.source, SyntheticSource):
            return grouped_prompts(lengths, self.source.prefix_share, self.source.prefix_groups, vocab_size, self.seed)
        return grouped_prompts(lengths, 0.0, 1, vocab_size, self.seed)

    def _arrivals(self, requests: Sequence[RecordedRequest | SessionTurn]) -> list[float]:
        """Seconds from the window's start, [requests]."""
        if self.load is None or self._has_sessions:
            return [request.arrival_s for request in requests]
        if self.load.request_rate is None:
            return [0.0] * len(requests)
        return self._drawn_arrivals(len(requests), float(self.load.request_rate))

    def _drawn_arrivals(self, count: int, rate: float) -> list[float]:
        """Seconds from the window's start, [count], at `rate` a second in the shape of the load."""
        load = self.load
        assert load is not None
        times = gamma_arrivals(count, rate, load.burstiness, stream(self.seed, Stream.ARRIVALS))
        if load.ramp_to is not None:
            times = ramp(times, rate, rate * load.ramp_to / float(load.request_rate or 1.0))
        if load.burst is not None:
            times = bursts(times, load.burst.factor, load.burst.every_s, load.burst.length_s)
        return [float(time) for time in times]


def content_hash(requests: Sequence[PlannedRequest], max_concurrency: int | None) -> str:
    """SHA-256 over what is sent: per request in order its token ids, max_tokens and arrival, then the concurrency.

    Request ids and names do not count.
    """
    digest = hashlib.sha256(b"vllm-tpu-tuner workload 1\n")
    for request in requests:
        header = (len(request.prompt_token_ids), request.max_tokens)
        digest.update(np.array(header, dtype="<i8").tobytes())
        digest.update(np.array(request.prompt_token_ids, dtype="<i8").tobytes())
        digest.update(np.array([request.arrival_s], dtype="<f8").tobytes())
    digest.update(np.array([-1 if max_concurrency is None else max_concurrency], dtype="<i8").tobytes())
    return digest.hexdigest()


def _first_problem(error: ValidationError) -> tuple[str, str | None]:
    """Reason and fix of the first complaint; the fix is None where the reason says what is allowed.

    Names of union members (the `kind`) are not keys of the user's file.
    """
    first = error.errors(include_url=False)[0]
    tags = {*KINDS, "mix", "fixed", "uniform", "lognormal"}
    key = (
        ".".join(str(part) for part in first["loc"] if part not in tags and not str(part).startswith(("literal[", "constrained-")))
        or "workload"
    )
    if first["type"] == "extra_forbidden":
        return f"the key {key!r} is unknown", _right_key(key) or "remove it or fix its spelling"
    if first["type"] == "missing":
        return f"the key {key!r} is missing", "add it"
    return f"{key}: {refusal(first)}", None


def _right_key(key: str) -> str | None:
    """How a file spells a key of the one-line form."""
    name = key.rpartition(".")[2]
    if name in LOAD_KEYS:
        return f"in a file write load: {{{LOAD_KEYS[name]}: ...}}"
    return f"in a file write {DRAWN_AS}" if name == "requests" else None
