"""`tuner search --factor`: over tables of any settings, from the command line to every way out."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.web.settings import ServiceSettings
from tests.tuner.cli.terminal import Terminal, is_one_line_error
from tuner.core.contract import ARMS

SEQS = ("--factor", "max_num_seqs=*", "--factor", "mode=a,b")


def seqs_table(terminal: Terminal) -> None:
    lines = ["block_size,max_num_batched_tokens,arm,max_num_seqs,mode,total_token_throughput,ttft_p99_ms"]
    for page, seqs, mode, arm in itertools.product((16, 32), (8, 16), ("a", "b"), ("default", "page_aligned")):
        value = (1.1 if arm == "page_aligned" else 1.0) * (100 + page + seqs + 5 * (mode == "b"))
        lines.append(f"{page},128,{arm},{seqs},{mode},{value},50")
    terminal.table.write_text("\n".join(lines) + "\n")


def other_table(terminal: Terminal) -> None:
    """Nothing of a language model: three settings of something else."""
    lines = ["depth,alpha,mode,total_token_throughput"]
    for depth, alpha, mode in itertools.product((1, 2, 3), (0.5, 1), ("a", "b")):
        lines.append(f"{depth},{alpha},{mode},{100 + 10 * depth - 4 * alpha + (7 if mode == 'b' else 0)}")
    terminal.table.write_text("\n".join(lines) + "\n")


@pytest.fixture
def searched(terminal: Terminal) -> Terminal:
    seqs_table(terminal)
    done = terminal.search("--chunk-budgets", "128", "--study", "f", *SEQS, "--profile", "none")
    assert done.code == 0, done.err
    assert "128, max_num_seqs 16, mode b" in done.out and "max_num_seqs 16 (vLLM's default: 256)" in done.out
    return terminal


@pytest.mark.slow
def test_every_way_out_names_the_cell_by_all_factors(searched: Terminal) -> None:
    places = ("--storage", searched.url)
    shown = searched.run("show", "f", *places)
    assert "128, max_num_seqs 16, mode b" in shown.out
    compared = searched.run("compare", "f", *places, "--json").json
    cells = {(item["block_size"], item["factors"]["max_num_seqs"], item["factors"]["mode"]) for item in compared["comparisons"]}
    assert len(cells) == 8
    assert compared["answer"]["wins"][0] == [16, 128, {"max_num_seqs": 8, "mode": "a"}]
    for form in ("markdown", "html"):
        assert "max_num_seqs 16, mode b" in searched.run("compare", "f", *places, "--format", form).out
    recommended = searched.run("recommend", "f", *places, "--json").json
    assert recommended["settings"]["mode"] == "b" and recommended["config"]["max_num_seqs"] == 16
    rows = list(csv.DictReader(io.StringIO(searched.run("export", "f", *places, "--format", "csv").out)))
    assert {(row["max_num_seqs"], row["mode"]) for row in rows} == {("8", "a"), ("8", "b"), ("16", "a"), ("16", "b")}


@pytest.mark.slow
def test_the_report_repeats_the_search(searched: Terminal) -> None:
    report = searched.run("compare", "f", "--storage", searched.url, "--format", "markdown").out
    assert "--factor max_num_seqs=8,16" in report and "--factor mode=a,b" in report


@contextmanager
def site(terminal: Terminal) -> Iterator[TestClient]:
    app = create_app(ServiceSettings(storage_url=terminal.url, logdir=terminal.folder / "profiles"))
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as client:
        yield client


@pytest.mark.slow
def test_pages_and_interface_name_the_cell_by_all_factors(searched: Terminal) -> None:
    with site(searched) as client:
        for address in ("/studies/f", "/trials/1", "/studies/f/report.html", "/compare?baseline=1&candidate=2", "/recommendations/1"):
            answer = client.get(address)
            assert answer.status_code == 200 and "max_num_seqs 16" in answer.text, address
        trials = client.get("/v1/studies/f/trials").json()["items"]
        assert trials[0]["factors"] == {"max_num_seqs": 16, "mode": "a"}
        items = client.get("/v1/studies/f/comparison").json()["items"]
        assert all(set(item["factors"]) == {"max_num_seqs", "mode"} for item in items)
        maps = client.get("/studies/f/charts/heat-map.svg").text
        assert all(f"{arm}, max_num_seqs {seqs}, mode {mode}" in maps for arm in ARMS for seqs in (8, 16) for mode in "ab")
        assert "max_num_seqs 8, mode a" in client.get("/studies/f/charts/forest.svg").text
        assert "over the 4 settings that vary" in client.get("/studies/f").text
        assert "max_num_seqs 16, mode b" in client.get("/studies/f/charts/parallel.svg").text


@pytest.mark.slow
def test_a_table_of_other_settings_needs_no_page_size(terminal: Terminal) -> None:
    other_table(terminal)
    factors = [word for name in ("depth", "alpha", "mode") for word in ("--factor", f"{name}=*")]
    places = ["--storage", terminal.url, "--logdir", str(terminal.folder / "profiles"), "--table", str(terminal.table)]
    basic = ["search", "--model", "tiny-qwen3", "--launcher", "table", "--rounds", "1", "--profile", "none", *places]
    grid = terminal.run(*basic, "--study", "grid", *factors, "--json")
    assert grid.code == 0, grid.err
    assert grid.json["recommendation"]["settings"] == {
        "arm": "default",
        "block_size": 16,
        "max_num_batched_tokens": 2048,
        "page_aligned": False,
        "depth": 3,
        "alpha": 0.5,
        "mode": "b",
    }
    few = terminal.run(*basic, "--study", "few", *factors, "--trials", "8", "--json")
    assert few.code == 0 and few.json["run"]["measured_windows"] <= 8 + 3


@pytest.mark.slow
def test_a_compressed_table_of_kernel_tuner_is_searched(terminal: Terminal) -> None:
    """Its time, which is none of our metrics, counts as e2el_mean_ms; what fails in it is a failed trial."""
    cache: dict[str, Any] = {}
    for x, y in itertools.product((1, 2, 4), (True, False)):
        time_ms: object = "RuntimeFailedConfig" if (x, y) == (4, True) else 10.0 / x + y
        common = {"x": x, "y": y, "compile_time": 1000, "verification_time": 0, "benchmark_time": 500}
        cache[f"{x},{y}"] = {**common, "time": time_ms, "times": [time_ms, time_ms]}
    table = terminal.folder / "kernel.json.gz"
    table.write_bytes(gzip.compress(json.dumps({"objective": "time", "tune_params_keys": ["x", "y"], "cache": cache}).encode()))
    found = terminal.run(
        *("search", "--model", "tiny-qwen3", "--launcher", "table", "--rounds", "1", "--profile", "none", "--storage", terminal.url),
        *("--table", str(table), "--study", "k", "--factor", "x=*", "--factor", "y=*", "--objective", "e2el_mean_ms", "--json"),
    )
    assert found.code == 0, found.err
    settings = found.json["recommendation"]["settings"]
    assert (settings["x"], settings["y"]) == (4, False)
    trials = terminal.run("show", "k", "--storage", terminal.url, "--json").json["trials"]
    assert [trial["error_class"] for trial in trials if trial["state"] == "FAIL"] == ["engine_crash"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--factor", "depth=*", "--factor", "alpha=*"),
            "column 'mode' is neither a setting nor a metric; search it with --factor 'mode=*'",
        ),
        (("--factor", "depth=*", "--factor", "alpha=*", "--factor", "mood=*"), "column 'mode' is neither"),
        (("--factor", "depth=1,4", "--factor", "alpha=*", "--factor", "mode=*"), "has no row with depth 4; it has 1, 2, 3"),
        (("--factor", "depth=*", "--factor", "alpha=*", "--factor", "mode=*", "--factor", "wide=1"), "has no column wide"),
        (
            ("--factor", "depth=*", "--factor", "alpha=*", "--factor", "mode=*", "--chunk-budgets", "128,256"),
            "has no column max_num_batched_tokens, so they would all be the same",
        ),
        ((), "has no column block_size"),
    ],
)
def test_what_the_table_does_not_have_is_told_in_one_line(terminal: Terminal, arguments: tuple[str, ...], message: str) -> None:
    other_table(terminal)
    basic = ["search", "--model", "tiny-qwen3", "--launcher", "table", "--table", str(terminal.table), "--storage", terminal.url]
    found = terminal.run(*basic, *arguments)
    assert found.code == 2 and is_one_line_error(found) and message in found.err
    assert not list(terminal.folder.glob("*.db"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--factor", "max_num_seqs"), "--factor 'max_num_seqs': write NAME=LEVEL,LEVEL"),
        (("--factor", "max_num_seqs=8", "--factor", "max_num_seqs=16"), "--factor 'max_num_seqs' is given twice; keep one"),
        (("--factor", "max_num_seqs=1..99999999"), "--factor: max_num_seqs: 1..99999999 has 99,999,999 levels"),
        (("--factor", "offload_group_size=0..999", "--factor", "max_num_seqs=1..128"), "configurations, more than 1,000,000"),
        (("--factor", "kv_cache_dtype=fp8", "--engine-arg", "kv_cache_dtype=auto"), "kv_cache_dtype is also fixed by engine_args"),
        (("--factor", "kv_cache_dtype=auto,fp8"), "factors: kv_cache_dtype fp8 is not supported by our XLA attention backend; drop it"),
    ],
)
def test_bad_factors_are_told_in_one_line(terminal: Terminal, arguments: tuple[str, ...], message: str) -> None:
    found = terminal.run("search", "--model", "tiny-qwen3", "--storage", terminal.url, *arguments)
    assert found.code == 2 and is_one_line_error(found) and message in found.err


@pytest.mark.slow
def test_a_plan_names_each_factor_and_few_of_many_engines(terminal: Terminal) -> None:
    basic = ["search", "--model", "tiny-qwen3", "--storage", terminal.url, "--page-sizes", "16", "--chunk-budgets", "256", "--dry-run"]
    found = terminal.run(*basic, "--factor", "offload_group_size=0..99", "--factor", "max_num_seqs=8..32:log")
    assert found.code == 0, found.err
    assert "factor max_num_seqs (live): 8,16,32; vLLM's default: 256" in found.out
    assert "and 60 engines more" in found.out and "99 (100 levels); vLLM's default: " in found.out


@pytest.mark.slow
def test_every_way_out_speaks_of_the_compared_factor(terminal: Terminal) -> None:
    seqs_table(terminal)
    done = terminal.search("--chunk-budgets", "128", "--study", "c", *SEQS, "--compare", "max_num_seqs", "--profile", "none")
    assert done.code == 0, done.err
    assert "better: max_num_seqs 16 instead of 8 wins in 8 of 8 cells" in done.out
    places = ("--storage", terminal.url)
    found = terminal.run("compare", "c", *places, "--json").json
    assert found["comparisons"][0]["compared"] == {"factor": "max_num_seqs", "level": 16, "baseline": 8, "unit": "round"}
    assert terminal.run("recommend", "c", *places, "--json").json["evidence"]["compared"]["recommended"] == 16
    with site(terminal) as client:
        page = client.get("/studies/c").text
        assert "Is another max_num_seqs than 8 better?" in page and "Effect of max_num_seqs, cell by cell" in page
        assert "Can page-aligned" not in page and "Effect of page alignment" not in page
        recommended = client.get("/recommendations/1").text
        assert "max_num_seqs, each against max_num_seqs 8, this cell" in recommended and "max_num_seqs 16 instead of 8:" in recommended
        assert "max_num_seqs 16 instead of 8:" in client.get("/recommendations").text
        report = client.get("/studies/c/report.html").text
        assert "<h1>max_num_seqs: study c</h1>" in report and "ratio to max_num_seqs 8" in report and ">aligned / default" not in report
        assert "not measured in both arms" not in client.get("/studies/c/charts/forest.svg").text
        items = client.get("/v1/studies/c/comparison").json()["items"]
        assert items[0]["compared"]["level"] == 16
        assert client.get("/compare-studies?baseline=c&candidate=c").status_code == 200
