from __future__ import annotations

import socket

import pytest

from tuner.launchers.vllm_server import Cause, cause_excerpt, free_port, read_counters, root_cause

PREFIX = "(EngineCore pid=12) ERROR 11-24 01:23:04 [core.py:1130] "

PYDANTIC = """Traceback (most recent call last):
pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig
  Value error, data_parallel_size 2 is not supported: pass --data-parallel-size 1 [type=value_error, input_value=ArgsKwargs((), {})]
    For further information visit https://errors.pydantic.dev/2.14/v/value_error
"""
ENGINE_CORE = f"""{PREFIX}Traceback (most recent call last):
{PREFIX}ValueError: To serve at least one request, raise gpu_memory_utilization
(APIServer pid=11) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}
"""
USAGE = """usage: vllm serve [model_tag] [options]
vllm serve: error: unrecognized arguments: --no-such 2
"""


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (PYDANTIC, Cause("ValidationError", "data_parallel_size 2 is not supported: pass --data-parallel-size 1")),
        (ENGINE_CORE, Cause("ValueError", "To serve at least one request, raise gpu_memory_utilization")),
        (USAGE, Cause("usage", "unrecognized arguments: --no-such 2")),
        ("jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: out", Cause("XlaRuntimeError", "RESOURCE_EXHAUSTED: out")),
        ("INFO all is well\n", None),
        ("", None),
    ],
)
def test_the_cause_is_found_above_what_only_points_to_it(log: str, cause: Cause | None) -> None:
    assert root_cause(log) == cause


def test_the_last_of_several_exceptions_is_the_one_that_ended_it() -> None:
    assert root_cause("OSError: no tokenizer\nlater\nValueError: no room\n") == Cause("ValueError", "no room")


def test_counters_are_summed_over_engines_and_unknown_ones_are_left_out() -> None:
    text = """# HELP vllm:num_preemptions_total Cumulative
vllm:num_preemptions_total{engine="0",model_name="m"} 3.0
vllm:num_preemptions_total{engine="1",model_name="m"} 2.0
vllm:prompt_tokens_cached_total{engine="0",model_name="a b"} 64.0
vllm:prompt_tokens_cached_created{engine="0"} 1.7e+09
"""
    assert read_counters(text) == {"preemptions": 5.0, "cached_tokens": 64.0}


def test_a_free_port_can_be_bound() -> None:
    with socket.socket() as server:
        port = free_port()
        server.bind(("127.0.0.1", port))
        assert server.getsockname()[1] == port
        assert free_port() != port, "that one is taken now"


def test_the_excerpt_ends_at_the_cause_and_begins_with_its_traceback() -> None:
    before = [f"INFO {number}" for number in range(200)]
    cause = ["ERROR Traceback (most recent call last):", *(f"ERROR frame {number}" for number in range(80)), "ERROR ValueError: no room"]
    after = ["RuntimeError: Engine core initialization failed. See root cause above.", *(f"ERROR later {number}" for number in range(200))]
    excerpt = cause_excerpt("\n".join([*before, *cause, *after])).splitlines()
    assert excerpt[0].startswith("ERROR Traceback")
    assert excerpt[-2:] == ["ERROR ValueError: no room", after[0]]
    assert cause_excerpt("\n".join(before), lines=3).splitlines() == before[-3:]
    assert cause_excerpt("") == ""
