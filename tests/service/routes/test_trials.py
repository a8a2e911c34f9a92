from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.service.builders import Filled


def test_a_trial_with_all_that_belongs_to_it(each_client: TestClient, filled: Filled) -> None:
    found = each_client.get(f"/v1/trials/{filled.default.id}").json()
    assert (found["study"], found["number"], found["state"]) == ("first", 0, "COMPLETE")
    assert found["environment"]["accelerator"] == "cpu x86_64"
    assert found["effective"] == {"block_size": 32}
    assert [item["metrics"]["output_token_throughput"] for item in found["measurements"]] == [100.0, 101.0, 102.0]
    [profile] = found["profiles"]
    assert profile["tensorboard"] == "/tensorboard/?run=first%2Ftrial-0%2Fs1&tool=trace_viewer&host=h#profile"


@pytest.mark.slow
def test_a_failed_trial_has_its_class_and_no_values(each_client: TestClient, filled: Filled) -> None:
    found = each_client.get(f"/v1/trials/{filled.failed.id}").json()
    assert (found["values"], found["error_class"], found["environment"]) == (None, "out_of_memory", None)
    assert found["log_excerpt"] == "<script>alert(1)</script>"


def test_profiles_of_a_trial(each_client: TestClient, filled: Filled) -> None:
    [missing] = each_client.get(f"/v1/trials/{filled.aligned.id}/profile").json()["items"]
    assert (missing["status"], missing["tensorboard"]) == ("missing", None)
    assert each_client.get("/v1/trials/99999/profile").status_code == 404


def test_ids_beyond_the_column_are_refused_before_the_database(each_client: TestClient) -> None:
    for bad in ("0", "-1", "2147483648", "9" * 40, "1e3", "NaN", "%31%00"):
        assert each_client.get(f"/v1/trials/{bad}").status_code in (400, 422), bad
