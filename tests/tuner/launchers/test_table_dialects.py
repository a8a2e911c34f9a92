"""Tables that people have: our own export, vLLM's benchmark results, what pandas and spreadsheets write."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.tuner.launchers.tables import TABLE, write_table
from tests.tuner.workbench import FinishedStudy
from tuner.core.errors import BadInput, FailureClass
from tuner.launchers.measured_table import MeasuredTable, Value
from tuner.launchers.table import TableLauncher
from tuner.launchers.table_dialects import _EXPORT_NOTES, _EXPORT_SETTINGS
from tuner.launchers.table_files import read_csv
from tuner.report.study_export import TRIAL_COLUMNS, WINDOW_COLUMNS, study_csv

CELL: dict[str, Value] = {"block_size": 16, "max_num_batched_tokens": 128, "arm": "default"}
TWO = "block_size,max_num_batched_tokens,arm,{metric}\n16,128,default,{value}\n16,128,page_aligned,5\n"


def _loaded(folder: Path, text: str) -> MeasuredTable:
    return TableLauncher(write_table(folder, text)).table


@pytest.mark.parametrize("metric", ["ttft_p99_ms", "tpot_mean_ms", "e2el_max_ms", "itl_mean_ms", "mean_step_ms", "total_token_throughput"])
@pytest.mark.parametrize("zero", ["0", "0.0", "-3"])
def test_a_latency_of_0_is_no_measurement_and_never_the_best(tmp_path: Path, metric: str, zero: str) -> None:
    with pytest.raises(BadInput, match=rf"table\.csv:2: {metric} is {zero}: .*; drop the column, or mark a failed one with error_class"):
        _loaded(tmp_path, TWO.format(metric=metric, value=zero))


@pytest.mark.parametrize(
    "metric", ["preemptions", "failed", "prefix_cache_hit_rate", "goodput", "ttft_std_ms", "itl_p50_ms", "padding_share"]
)
def test_what_can_be_0_stays_0(tmp_path: Path, metric: str) -> None:
    assert _loaded(tmp_path, TWO.format(metric=metric, value="0")).truth(CELL, metric) == 0


def test_our_own_export_goes_in(grid: FinishedStudy, tmp_path: Path) -> None:
    storage = grid.bench.storage
    study = storage.get_study("s")
    trials, windows = list(storage.list_trials(study.id)), list(storage.list_measurements(study_id=study.id))
    table = _loaded(tmp_path, study_csv(trials, windows))
    assert {*table.parameters} == {*CELL}
    searched = {(item.block_size, item.max_num_batched_tokens, item.arm) for item in trials if item.stage == "search"}
    assert {tuple(item.params[name] for name in CELL) for item in table.configurations} == searched
    for point in table.configurations:
        (trial,) = [item for item in trials if item.stage == "search" and all(getattr(item, name) == point.params[name] for name in CELL)]
        values = [item.metrics["total_token_throughput"] for item in windows if item.trial_id == trial.id and item.valid]
        assert point.samples["total_token_throughput"] == tuple(values)


def test_the_reader_of_exports_knows_every_column_of_them() -> None:
    assert {*_EXPORT_SETTINGS, *_EXPORT_NOTES} == {*TRIAL_COLUMNS, *WINDOW_COLUMNS}


EXPORT = """\
trial,stage,state,arm,block_size,max_num_batched_tokens,error_class,round,position,started_at,duration_s,valid,invalid_reason,request_throughput,tpot_mean_ms
0,search,COMPLETE,default,16,128,,0,0,1.0,2.5,1,,10,3
0,search,COMPLETE,default,16,128,,1,0,2.0,2.5,0,recompiled,1,3
1,search,FAIL,page_aligned,16,128,engine_crash,,,,,,,,
2,search,PRUNED,default,32,128,,,,,,,,,
3,search,WAITING,default,64,128,,,,,,,,,
4,search,FAIL,page_aligned,32,128,timeout,,,,,,,,
5,search,COMPLETE,page_aligned,32,128,,0,1,1.0,2.5,1,,12,
6,confirm,COMPLETE,default,16,128,,0,0,9.0,2.5,1,,99,3
"""


def test_an_export_with_failed_pruned_unmeasured_and_repeated_trials(tmp_path: Path) -> None:
    found = {(item.params["block_size"], item.params["arm"]): item for item in _loaded(tmp_path, EXPORT).configurations}
    assert found.keys() == {(16, "default"), (16, "page_aligned"), (32, "default"), (32, "page_aligned")}
    assert found[16, "default"].samples == {"request_throughput": (10.0,)}, "no invalid window, no finalist, no metric that others lack"
    assert found[16, "default"].measure_s == 2.5
    assert found[16, "page_aligned"].failure is FailureClass.ENGINE_CRASH
    assert found[32, "default"].failure is FailureClass.INVALID_MEASUREMENT
    assert found[32, "page_aligned"].samples == {"request_throughput": (12.0,)}, "a trial that was tried again and completed"


VLLM = """\
date,backend,model_id,num_prompts,request_rate,burstiness,max_concurrency,{block},{budget},arm,duration,completed,failed,total_input_tokens,\
request_throughput,request_goodput,output_throughput,total_token_throughput,mean_ttft_ms,median_ttft_ms,std_ttft_ms,p99_ttft_ms,mean_tpot_ms
20261101,vllm,Qwen/Qwen3-0.6B,100,inf,1.0,,16,128,default,12.5,100,0,6400,8,7,512,1024,40,35,5,90,0
20261101,vllm,Qwen/Qwen3-0.6B,100,inf,1.0,,16,128,page_aligned,12.0,100,0,6400,8.3,7.2,530,1060,39,34,5,88,0.0
"""


@pytest.mark.parametrize(("block", "budget"), [("block_size", "max_num_batched_tokens"), ("block-size", "max-num-batched-tokens")])
def test_the_names_of_vllms_benchmark_go_in(tmp_path: Path, block: str, budget: str) -> None:
    table = _loaded(tmp_path, VLLM.format(block=block, budget=budget))
    assert {*table.parameters} == {*CELL}
    point = table.find({name: CELL[name] for name in table.parameters})
    expected = {"output_token_throughput": 512, "goodput": 7, "ttft_mean_ms": 40, "ttft_p50_ms": 35, "ttft_std_ms": 5, "ttft_p99_ms": 90}
    assert {name: point.samples[name][0] for name in expected} == expected
    assert "tpot_mean_ms" not in point.samples, "vLLM writes 0 where no answer had two tokens"
    assert point.measure_s == 12.5


def _with_index(name: str, text: str = TABLE) -> str:
    lines = text.splitlines()
    return "\n".join([f"{name},{lines[0]}", *(f"{number},{line}" for number, line in enumerate(lines[1:]))]) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        _with_index(""),
        _with_index("Unnamed: 0"),
        _with_index("", _with_index("Unnamed: 0")),
        "\ufeff" + TABLE,
        TABLE.replace(",", ";"),
        TABLE.replace(",", "\t"),
        TABLE.replace("\n", "\r\n"),
    ],
    ids=["index", "index-read-again", "index-twice", "byte-order-mark", "semicolons", "tabs", "windows-lines"],
)
def test_what_pandas_and_spreadsheets_write_goes_in(tmp_path: Path, text: str) -> None:
    path = tmp_path / "their.csv"
    path.write_bytes(text.encode())
    assert read_csv(path).configurations == read_csv(write_table(tmp_path)).configurations


@pytest.mark.parametrize("label", ["x", "0", ""])
def test_a_column_without_a_name_that_is_no_row_label_is_refused(tmp_path: Path, label: str) -> None:
    rows = list(csv.reader(io.StringIO(TABLE)))
    text = "\n".join([",".join(["", *rows[0]]), *(",".join([label, *row]) for row in rows[1:])])
    with pytest.raises(BadInput, match="header needs distinct names"):
        read_csv(write_table(tmp_path, text))
