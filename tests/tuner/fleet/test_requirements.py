"""What a study may ask of a machine, and which machine has it."""

from __future__ import annotations

import pytest

from storage.queue_records import FleetWorker
from storage.records import Json
from tests.tuner.workbench import config_of
from tuner.core.errors import BadInput
from tuner.fleet.requirements import Machine, fits, implied, is_like, parse_requirements

V6E = Machine("TPU v6e-4", 4, {"vllm_tpu": "0.32.0", "jax": "0.11.2.dev3"})


@pytest.mark.parametrize(
    ("texts", "fit"),
    [
        ([], True),
        (["accelerator=v6e"], True),
        (["accelerator=TPU v6e"], True),
        (["accelerator=v6"], False),
        (["accelerator=v5e"], False),
        (["chips=4"], True),
        (["chips=5"], False),
        (["vllm-tpu>=0.30", "vllm-tpu <0.33"], True),
        (["vllm-tpu==0.31.0"], False),
        (["jax>=0.11.1"], True),
        (["libtpu>=0"], False),
        (["accelerator=v6e", "chips=8"], False),
    ],
)
def test_a_machine_has_it_or_not(texts: list[str], fit: bool) -> None:
    assert fits(parse_requirements(texts), V6E) is fit


@pytest.mark.parametrize(
    "text", ["", "v6e", "accelerator=", "accelerator=--", "chips=0", "chips=four", "chips>=4", "vllm>=x.y", "vllm=0.11"]
)
def test_what_no_machine_could_be_asked_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_requirements([text])


@pytest.mark.parametrize("stored", [{"memory": 4}, {"chips": "4"}, {"chips": True}, {"versions": {"jax": "newest"}}, {"accelerator": 6}])
def test_what_is_not_understood_is_not_promised(stored: Json) -> None:
    assert not fits(stored, V6E)


def test_what_a_studys_own_settings_need() -> None:
    assert implied(config_of()) == {}
    assert implied(config_of(platform="tpu", tensor_parallel_size=4)) == {"accelerator": "tpu", "chips": 4}
    assert implied(config_of(launcher="simulate", accelerator="v6e-1", tensor_parallel_size=4)) == {}


@pytest.mark.parametrize(
    ("worker", "like"),
    [
        (FleetWorker("w", "another host", "TPU v6e-4", 4, {"jax": "0.11.2", "vllm_tpu_tuner": "0.1.0"}), True),
        (FleetWorker("w", "host", "TPU v5e-4", 4, {"jax": "0.11.2", "vllm_tpu_tuner": "0.1.0"}), False),
        (FleetWorker("w", "host", "TPU v6e-4", 8, {"jax": "0.11.2", "vllm_tpu_tuner": "0.1.0"}), False),
        (FleetWorker("w", "host", "TPU v6e-4", 4, {"jax": "0.11.3", "vllm_tpu_tuner": "0.1.0"}), False),
        (FleetWorker("w", "host", "TPU v6e-4", 4, {"jax": "0.11.2", "vllm_tpu_tuner": "0.2.0"}), False),
        (FleetWorker("w", "host", "TPU v6e-4", 4, {}), False),
    ],
)
def test_a_worker_of_another_version_or_machine_works_on_studies_of_its_own(worker: FleetWorker, like: bool) -> None:
    assert is_like(Machine("TPU v6e-4", 4, {"jax": "0.11.2", "vllm_tpu_tuner": "0.1.0"}), worker) is like
