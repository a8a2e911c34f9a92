"""What a submitted study may ask for."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from tests.tuner.fleet import hostile_submissions as hostile
from tuner.core.errors import BadInput
from tuner.fleet.allowed import OF_A_SUBMISSION, OF_THE_OPERATOR, Allowed, allowed_study
from tuner.fleet.allowed_args import HARMLESS
from tuner.fleet.submitted_text import NotAllowed, pointer, read_json, read_yaml
from tuner.serving.engine_arg_facts import engine_arg_facts
from tuner.setup.config import StudyConfig

GOOD = hostile.GOOD
USUAL = Allowed()
ROOT = Path(__file__).resolve().parents[3]


def _asked(allowed: Allowed = USUAL, **changes: Any) -> StudyConfig:
    return allowed_study(read_json(json.dumps(GOOD | changes).encode()), allowed)


def _refused(allowed: Allowed = USUAL, **changes: Any) -> NotAllowed:
    with pytest.raises(NotAllowed) as caught:
        _asked(allowed, **changes)
    return caught.value


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a file, starts a program or runs a shell meanwhile fails the test."""

    def caught(*_arguments: object, **_further: object) -> NoReturn:
        raise AssertionError("something was opened or started")

    for module, name in ((os, "system"), (os, "popen"), (subprocess, "Popen"), (os, "open")):
        monkeypatch.setattr(module, name, caught)
    monkeypatch.setattr("builtins.open", caught)
    monkeypatch.setattr("pathlib.Path.open", caught)
    monkeypatch.setattr("pathlib.Path.read_text", caught)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("name", hostile.ALL)
def test_a_hostile_submission_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        allowed_study(read_json(hostile.ALL[name]), Allowed())
    text = str(caught.value)
    assert "\n" not in text and len(text) < 900 and text.isprintable(), text
    assert caught.value.fix or ";" in text or ":" in text
    assert pointer(caught.value.place) == "" or pointer(caught.value.place).startswith("/")


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("name", hostile.IN_YAML)
def test_hostile_yaml_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(BadInput) as caught:
        allowed_study(read_yaml(hostile.IN_YAML[name]), Allowed())
    assert "\n" not in str(caught.value)


def test_there_are_enough_of_them() -> None:
    assert len(set(hostile.ALL.values())) == len(hostile.ALL) >= 60


def test_the_same_study_without_malice_is_taken_from_json_and_yaml_alike() -> None:
    taken = _asked()
    assert taken.factors == {"max_num_seqs": (8, 16)} and taken.engine_args == {"gpu_memory_utilization": 0.9}
    assert allowed_study(read_yaml(yaml.safe_dump(GOOD)), Allowed()) == taken


def test_a_study_without_an_end_gets_the_longest_that_is_allowed() -> None:
    assert _asked().time_budget == 72 * 3600
    assert _asked(time_budget="10m").time_budget == 600


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"engine_args": {"worker_cls": "x"}}, "/engine_args/worker_cls"),
        ({"factors": {"kv_cache_dtype": ["auto", "fp8", "../x"]}}, "/factors/kv_cache_dtype/2"),
        ({"page_sizes": [16, "x"]}, "/page_sizes/1"),
        ({"rounds": {"mn": 1}}, "/rounds/mn"),
        ({"modle": "x"}, "/modle"),
        ({"chunk_budgets": [128, 128]}, "/chunk_budgets"),
        ({"workload": "synthetic:input=8,output=8,requests=90000"}, "/workload/source/num_prompts"),
    ],
)
def test_the_fault_is_pointed_at(changes: dict[str, Any], where: str) -> None:
    refused = _refused(**changes)
    assert pointer(refused.place) == where
    assert ";" in str(refused), "it says how to mend it"


def test_the_operator_widens_what_is_allowed_by_name_only() -> None:
    wide = Allowed(
        launchers=("table",), engine_args=frozenset({"additional_config"}), models=("Qwen/*", "/models/m"), files=frozenset({"/data/t.csv"})
    )
    base: dict[str, Any] = {"launcher": "table", "table": "/data/t.csv", "factors": {}}
    assert _asked(wide, **base, engine_args={"additional-config": {"a": 1}}).table == "/data/t.csv"
    assert _asked(wide, **base, model="Qwen/Qwen3-0.6B").model == "Qwen/Qwen3-0.6B"
    assert _asked(wide, **base, model="/models/m").model == "/models/m"
    assert pointer(_refused(wide, **base, model="other/m").place) == "/model"
    assert pointer(_refused(wide, **base, model="/models/m/../n").place) == "/model"
    assert pointer(_refused(wide, **{**base, "table": "/data/../data/t.csv"}).place) == "/table"
    assert pointer(_refused(wide, **base, engine_args={"worker_cls": "x"}).place) == "/engine_args/worker_cls"
    assert pointer(_refused(wide, **{**base, "launcher": "local"}).place) == "/launcher"


@pytest.mark.slow
def test_every_setting_was_thought_about() -> None:
    """A new one belongs to a submission, or to the worker."""
    assert OF_A_SUBMISSION | {*OF_THE_OPERATOR} == StudyConfig.model_fields.keys()
    assert not OF_A_SUBMISSION & {*OF_THE_OPERATOR}


@pytest.mark.slow
def test_the_harmless_arguments_are_vllms() -> None:
    """A list of names that no vLLM has would refuse what it means to allow."""
    known = engine_arg_facts(None)
    assert {"gpu_memory_utilization", "kv_cache_dtype", "enforce_eager"} <= {*known} & {*HARMLESS}
    plain = {name for name in HARMLESS if name in known and known[name].types}
    assert len(plain) >= 12


def test_the_documentation_lists_exactly_these() -> None:
    text = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    said = text.partition("<!-- harmless arguments -->")[2].partition("Those that load code")[0]
    assert re.findall(r"`(\w+)`", said) == sorted(HARMLESS)
