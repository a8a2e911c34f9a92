"""A configuration made concrete: lengths and concurrency follow from the workload, cold settings from the configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from storage.records import Json
from tests.tuner.workbench import config_of
from tuner.core.errors import BadInput
from tuner.setup import models, study_setup
from tuner.setup.models import ResolvedModel
from tuner.setup.space import Configuration
from tuner.setup.study_setup import StudySetup, check_places, prepare_study


def setup_of(**changes: Any) -> StudySetup:
    return prepare_study(config_of(**changes))


@pytest.mark.parametrize(
    ("workload", "expected"),
    [("demo", 512), ("synthetic:input=600,output=100,requests=2", 1024), ("synthetic:input=1024,output=1,requests=2", 2048)],
)
def test_max_model_len_holds_the_longest_request(workload: str, expected: int) -> None:
    assert setup_of(workload=workload).engine.max_model_len == expected


def test_max_model_len_too_small_for_the_workload() -> None:
    with pytest.raises(BadInput, match=r"does not fit max_model_len 64; raise max_model_len"):
        setup_of(max_model_len=64)


def test_max_model_len_above_the_models() -> None:
    with pytest.raises(BadInput, match="max_model_len 5000 is above the model's maximum of 4096 tokens"):
        setup_of(max_model_len=5000)


def test_a_page_longer_than_any_request() -> None:
    with pytest.raises(BadInput, match="page_sizes: 1024 is above max_model_len 512"):
        setup_of(page_sizes=[1024], chunk_budgets=[2048])


def test_page_sizes_that_nobody_named_fit_and_are_stored_as_if_named() -> None:
    short = setup_of(page_sizes=None)
    assert short.config.page_sizes == short.space.page_sizes == (16, 32, 64, 128)
    long = setup_of(page_sizes=None, max_model_len=4096, chunk_budgets=[512, 2048])
    assert long.space.page_sizes == (16, 32, 64, 128, 256) and long.config.to_json()["page_sizes"] == [16, 32, 64, 128, 256]
    assert long.space.has_vllms_own and long.space.baseline == Configuration(256, 2048, "default")
    with pytest.raises(BadInput, match="page_sizes: 16 is above the chunk budget 8"):
        setup_of(page_sizes=None, chunk_budgets=[8])


@pytest.mark.parametrize(("load", "expected"), [("concurrency=3", 8), ("concurrency=12", 16), ("concurrency=500", 128), ("rate=2", 128)])
def test_max_num_seqs_follows_the_concurrency(load: str, expected: int) -> None:
    assert setup_of(workload=f"synthetic:input=8,output=8,requests=4,{load}").engine.max_num_seqs == expected


def test_a_model_for_nodes_of_ray_is_asked_about_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their TPU and their Python are not on this machine."""
    asked: list[tuple[str | None, str]] = []

    def known_model(name: str, python: str | None, platform: str, engine_args: Json) -> ResolvedModel:
        asked.append((python, platform))
        return models.known_model(name, python, platform, engine_args)

    monkeypatch.setattr(study_setup, "known_model", known_model)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    setup_of(launcher="ray", engine_python="/on/the/nodes/python", platform="auto", tensor_parallel_size=4)
    setup_of(launcher="ray", engine_python="/on/the/nodes/python", platform="tpu")
    assert asked == [(None, "cpu"), (None, "cpu")]


def test_a_workload_may_stand_in_the_configuration() -> None:
    load: Json = {"max_concurrency": 2}
    source: Json = {"kind": "synthetic", "input": {"kind": "fixed", "value": 8}, "output": {"kind": "fixed", "value": 4}, "num_prompts": 3}
    setup = setup_of(workload={"name": "mine", "source": source, "load": load})
    assert setup.workload.name == "mine" and len(setup.plan.requests) == 3
    with pytest.raises(BadInput, match="the key 'lod' is unknown"):
        setup_of(workload={"name": "mine", "source": source, "lod": load})


def test_group_and_cold_engines_differ_in_what_they_are_compiled_for() -> None:
    setup = setup_of(seed=3, engine_args={"gpu-memory-utilization": 0.5}, dtype="bfloat16")
    configuration = Configuration(16, 128, "page_aligned")
    group, cold = setup.group_engine(16), setup.cold_engine(configuration)
    assert (group.block_size, group.max_num_batched_tokens) == (16, 256)
    assert (cold.block_size, cold.max_num_batched_tokens) == (16, 128)
    assert group.extra_engine_args == {"gpu_memory_utilization": 0.5}
    requested = setup.requested(configuration, group)
    assert requested["max_num_batched_tokens"] == 128 and requested["compiled_max_num_batched_tokens"] == 256
    assert (requested["arm"], requested["dtype"], requested["seed"]) == ("page_aligned", "bfloat16", 3)


def test_a_new_logdir_below_a_writable_folder_is_fine_and_not_made(tmp_path: Path) -> None:
    check_places(config_of(logdir=str(tmp_path / "a" / "b")))
    assert list(tmp_path.iterdir()) == []


def test_a_logdir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="is not a folder; name another with --logdir"):
        check_places(config_of(logdir=str(tmp_path / "file" / "below")))


def test_a_logdir_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_arguments: False)  # root may write everywhere
    with pytest.raises(BadInput, match="cannot be written; name another with --logdir"):
        check_places(config_of(logdir=str(tmp_path)))


@pytest.mark.parametrize(
    ("workload", "refused"),
    [
        ("synthetic:input=32,output=4,requests=100,rate=0.1", True),
        ("synthetic:input=32,output=4,requests=61,rate=0.1", True),
        ("synthetic:input=32,output=4,requests=50,rate=0.1", False),
        ("synthetic:input=32,output=4,requests=100,concurrency=1", False),
    ],
)
def test_an_open_loop_that_lasts_longer_than_a_trial_may_is_refused(workload: str, refused: bool) -> None:
    """Every trial was measured for ten minutes and then thrown away."""
    config = config_of(workload=workload)
    if refused:
        with pytest.raises(
            BadInput, match=r"workload: the last request arrives after \d+ s, but trial_timeout is 600 s; set trial_timeout"
        ):
            prepare_study(config)
    else:
        assert prepare_study(config).plan.last_arrival_s < 600
    assert prepare_study(config_of(workload=workload, trial_timeout="2h")).warnings == ()
