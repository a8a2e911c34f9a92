from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tests.tuner.launchers.tables import TABLE, write_table
from tuner.core.errors import BadInput, FailureClass
from tuner.launchers.table_files import load_table
from tuner.metrics.catalog import Direction


def test_columns_are_sorted_into_parameters_metrics_costs_and_failures(tmp_path: Path) -> None:
    table = load_table(write_table(tmp_path))
    assert table.parameters == ("block_size", "max_num_batched_tokens", "arm")
    assert table.directions == {"total_token_throughput": Direction.MAXIMIZE, "ttft_p99_ms": Direction.MINIMIZE}
    assert len(table.configurations) == TABLE.count("\n") - 1
    crashed = table.find({"block_size": 32, "max_num_batched_tokens": 128, "arm": "page_aligned"})
    assert (crashed.failure, crashed.message, crashed.samples) == (FailureClass.ENGINE_CRASH, "bus error", {})
    assert (crashed.start_s, crashed.measure_s) == (9.0, 0.5)


def test_a_column_may_have_the_name_that_its_metric_had_before(tmp_path: Path) -> None:
    table = load_table(write_table(tmp_path, "a,cached_token_share\n1,0.5\n"))
    assert table.directions == {"prefix_cache_hit_rate": Direction.MAXIMIZE}
    assert table.configurations[0].samples == {"prefix_cache_hit_rate": (0.5,)}


def test_signs_give_the_direction_and_repeated_lines_are_samples(tmp_path: Path) -> None:
    table = load_table(write_table(tmp_path, "Size,Mode,Speed+,Lag-\n1e3,fast,3,9\n 1000 ,fast,5,7\n2,7,1,1\n"))
    assert table.directions == {"Speed": Direction.MAXIMIZE, "Lag": Direction.MINIMIZE}
    assert [configuration.params for configuration in table.configurations] == [{"Size": 1000, "Mode": "fast"}, {"Size": 2, "Mode": 7}]
    assert table.configurations[0].samples == {"Speed": (3.0, 5.0), "Lag": (9.0, 7.0)}
    assert table.values_of("Mode") == [7, "fast"]


@pytest.mark.parametrize(
    ("header", "parameters", "metrics"),
    [
        ("A,B,A-,B-", ("A", "B"), {"A-": Direction.MINIMIZE, "B-": Direction.MINIMIZE}),
        ("A,B,A+,C-", ("A", "B"), {"A+": Direction.MAXIMIZE, "C": Direction.MINIMIZE}),
        ("A,B,C+,C-", ("A", "B"), {"C+": Direction.MAXIMIZE, "C-": Direction.MINIMIZE}),
        ("A,C--,C-,B", ("A", "B"), {"C--": Direction.MINIMIZE, "C-": Direction.MINIMIZE}),
        ("A,start_s,start_s-,B-", ("A",), {"start_s-": Direction.MINIMIZE, "B": Direction.MINIMIZE}),
    ],
)
def test_a_metric_may_differ_from_a_parameter_by_its_sign_only(
    tmp_path: Path, header: str, parameters: tuple[str, ...], metrics: dict[str, Direction]
) -> None:
    """Tables of timm/moot with such columns (SS-B, SS-L, SS-P) were refused."""
    table = load_table(write_table(tmp_path, f"{header}\n1,2,3,4\n"))
    assert (table.parameters, table.directions) == (parameters, metrics)
    values = dict(zip(header.split(","), (1.0, 2.0, 3.0, 4.0), strict=True))
    point = table.configurations[0]
    assert {metric: samples[0] for metric, samples in point.samples.items()} == {
        metric: values.get(metric, values.get(f"{metric}-")) for metric in metrics
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "header needs distinct names"),
        ("a,b\n1,2\n", "header needs distinct names, at least one parameter and at least one metric"),
        ("a,a,b+\n1,1,2\n", "header needs distinct names"),
        ("a,b+,b+\n1,1,2\n", "header needs distinct names"),
        ("A,A,A-\n1,1,2\n", "header needs distinct names"),
        ("a,total_token_throughput,total_token_throughput\n1,1,2\n", "header needs distinct names"),
        ("a,+\n1,2\n", "header needs distinct names"),
        ("b+\n1\n", "at least one parameter"),
        ("a,b+\n", "a header and no line"),
        ("a,b+\n1\n", ":2: 1 cells, the header has 2"),
        ("a,b+\n1,\n", ":2: b\\+ is '', which is not a number; mark a failed configuration with error_class"),
        ("a,b+\n1,nan\n", ":2: b\\+ is 'nan'"),
        ("a,b+,error_class\n1,,tired\n", ":2: error_class 'tired' is unknown; use one of out_of_memory"),
        ("a,b+,error_class\n1,3,\n1,,timeout\n", ":3: a=1 is there twice and fails"),
        ("a,b+,start_s\n1,3,-1\n", "start_s is -1, it must be 0 or more"),
    ],
)
def test_bad_tables_are_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint) as caught:
        load_table(write_table(tmp_path, text))
    assert "\n" not in str(caught.value)


@examples(80)
@given(content=st.binary(max_size=60), suffix=st.sampled_from([".csv", ".json", ".json.gz"]))
def test_any_bytes_are_read_or_refused(content: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(b"a,b+\n" + content if suffix == ".csv" else content)
    try:
        table = load_table(path)
    except BadInput:
        return
    assert table.configurations


def _hub(**entry: Any) -> bytes:
    full = {"x": 1, "time": 2.0, "times": [1.5, 2.5], "compile_time": 4000, "verification_time": 0, "benchmark_time": 500} | entry
    return json.dumps({"objective": "time", "tune_params_keys": ["x"], "cache": {"1": full}}).encode()


_TWICE = _hub().replace(b'"cache": {', b'"cache": {"1": {}, ')


def test_benchmark_hub_plain_and_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(_hub())
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(_hub(time="RuntimeFailedConfig")))
    works = load_table(tmp_path / "a.json").configurations[0]
    assert (works.samples, works.start_s, works.measure_s) == ({"time": (1.5, 2.5)}, 4.0, 0.5)
    fails = load_table(tmp_path / "b.json.gz").configurations[0]
    assert (fails.samples, fails.failure, fails.message) == ({}, FailureClass.ENGINE_CRASH, "RuntimeFailedConfig")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"{}", "key 'objective' is missing"), (b"[1]", "not a benchmark_hub"), (b"{", "not a"), (_TWICE, "the key '1' is there twice")],
)
def test_other_json_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=complaint):
        load_table(path)


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    for name in ("none.csv", "none.json"):
        with pytest.raises(BadInput, match=r"none\..*No such file"):
            load_table(tmp_path / name)
