"""A study submitted from the form."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from service.pages.submit_view import study_file
from storage.base import Storage
from storage.queue_records import Claim, FleetWorker, Quarantine
from tests.service.conftest import ORIGIN, TOKEN
from tests.storage.builders import a_study, stored_trial
from tests.tuner.fleet import hostile_submissions as hostile
from tuner.trials.retry import Attempt

FILE = yaml.safe_dump(hostile.GOOD | {"launcher": "simulate", "accelerator": "v6e-1"})


def press(client: TestClient, button: str, file: str = FILE, **fields: str) -> Any:
    sent = {"file": file, "accelerator": "", **fields, "action": button}
    return client.post("/submit", data=sent, headers=ORIGIN, follow_redirects=False)


def area(page: str) -> str:
    (found,) = re.findall(r"<textarea[^>]*>\n?(.*?)</textarea>", page, re.DOTALL)
    return html.unescape(found)


@pytest.mark.slow
def test_the_first_press_shows_the_plan_and_queues_nothing(client: TestClient, storage: Storage) -> None:
    answer = press(client, "plan")
    assert answer.status_code == 200
    text = " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())
    for said in (
        "What qwen3-chat would do",
        "Configurations 16 by grid",
        "page size 16, budget up to 256: 8 configurations",
        "Estimated time",
    ):
        assert said in text, (said, text)
    assert area(answer.text) == FILE, "what was typed is still there"
    assert storage.count_studies() == 0


def test_a_file_is_made_of_a_few_fields(client: TestClient) -> None:
    query = {
        "study": "a",
        "model": "Qwen/Qwen3-0.6B",
        "page_sizes": "16, 32",
        "slos": "ttft_p99_ms<=500",
        "workload": "synthetic:input=8,output=4",
    }
    made = area(client.get("/submit", params=query).text)
    assert yaml.safe_load(made) == {
        "study": "a",
        "model": "Qwen/Qwen3-0.6B",
        "page_sizes": [16, 32],
        "slos": ["ttft_p99_ms<=500"],
        "workload": "synthetic:input=8,output=4",
    }
    assert area(client.get("/submit").text) == ""


@pytest.mark.parametrize("value", ["a: b", "x\ny: z", "'", "!!python/object:os.system", "*a", "yes # no", "{a"])
def test_a_field_stays_a_value_of_the_file(value: str) -> None:
    assert yaml.safe_load(study_file({"study": value.replace("\n", " ")})) == {"study": value.replace("\n", " ")}


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("", "study: is missing"),
        ("study: [", "submission:1: not valid YAML"),
        (FILE + "engine_args: {trust_remote_code: true}\n", "the key 'engine_args' is there twice"),
        ("study: a\nmodel: /etc\n", "model: is not a model that is allowed here"),
        ("study: <script>\nmodel: tiny-qwen3\n", "study: '<script>'; use"),
    ],
)
def test_what_is_wrong_stands_below_the_file(client: TestClient, file: str, said: str) -> None:
    answer = press(client, "plan", file)
    assert answer.status_code == 422
    (found,) = re.findall(r'<p class="bad error" id="file-error">(.*?)</p>', answer.text)
    assert said in html.unescape(found)
    assert "<script>" not in answer.text.partition("<main")[2]


def test_a_name_that_is_taken_is_said(client: TestClient, storage: Storage) -> None:
    storage.create_study(a_study(name="qwen3-chat"))
    answer = press(client, "plan")
    assert answer.status_code == 409 and "choose another name" in answer.text


def test_another_site_may_not_press(client: TestClient) -> None:
    answer = client.post("/submit", data={"file": FILE, "action": "plan"}, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403


@pytest.mark.slow
def test_the_second_press_queues_it_and_its_page_takes_it_back(client: TestClient, storage: Storage) -> None:
    assert "Submit qwen3-chat" in press(client, "plan").text
    nobody = press(client, "submit")
    assert nobody.status_code == 401 and "token-error" in nobody.text and "would do" in nobody.text, "the plan is still there"
    answer = press(client, "submit", token=TOKEN, accelerator="TPU v6e-1", priority="3", workers="2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/queue/1")
    [row] = storage.list_submissions()
    assert (row.study, row.priority, row.workers, row.requirements) == ("qwen3-chat", 3, 2, {"accelerator": "TPU v6e-1"})
    queue = client.get("/queue").text
    assert "1 waiting, 0 running" in queue and '<a href="/queue/1">qwen3-chat</a>' in queue and "accelerator TPU v6e-1" in queue
    page = client.get("/queue/1").text
    assert "queued</strong> by environment" in page and "Cancel it" in page and "&#34;model&#34;: &#34;tiny-qwen3&#34;" in page
    refused = client.post("/queue/1", data={"action": "cancel", "token": "wrong", "reason": ""}, headers=ORIGIN)
    assert refused.status_code == 401 and storage.get_submission(1).state == "QUEUED"
    done = client.post("/queue/1", data={"token": TOKEN, "reason": "wrong model"}, headers=ORIGIN, follow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, "/queue/1")
    after = client.get("/queue/1").text
    assert "cancelled</strong> by environment: wrong model" in after and "Cancel it" not in after
    assert "Nothing waits or runs" in client.get("/queue").text and "qwen3-chat" in client.get("/queue?state=CANCELLED&q=environment").text
    assert client.get("/queue/7").status_code == 404 and client.get("/queue?state=ANY").status_code == 422


@pytest.mark.slow
def test_a_worker_that_has_begun_it_is_linked(client: TestClient, storage: Storage) -> None:
    press(client, "submit", token=TOKEN)
    storage.claim_submission(Claim("worker-1", "held", 60.0))
    study = storage.create_study(a_study(name="qwen3-chat"))
    storage.put_worker(FleetWorker("worker-1", "host", "TPU v6e", 4, {}, "running", 1))
    assert "0 of 0" in client.get("/queue").text and "TPU v6e \N{MULTIPLICATION SIGN} 4" in client.get("/queue").text
    assert f"/studies/{study.name}" in client.get("/queue/1").text
    assert 'href="/queue/1"' in client.get(f"/studies/{study.name}").text, "and back"


@pytest.mark.slow
def test_hosts_in_quarantine_and_attempts_that_failed_are_told_as_text(client: TestClient, storage: Storage) -> None:
    storage.quarantine_host(Quarantine("<b>tpu-7</b>", "-12.0 % beside its peers", "w1"))
    queue = client.get("/queue").text
    assert "<strong>&lt;b&gt;tpu-7&lt;/b&gt;</strong>" in queue and "-12.0 % beside its peers" in queue
    assert 'tuner_hosts_in_quarantine{host="<b>tpu-7</b>"} 1.0' in client.get("/metrics").text
    failed = Attempt(1, "startup", "<i>no</i>", "tpu-7", engine_start=3, at=0.0, then="left to another host")
    trial = stored_trial(storage, notes={"attempts": [failed.to_json()]})
    page = client.get(f"/trials/{trial.id}").text
    assert "Attempts that failed" in page and "&lt;i&gt;no&lt;/i&gt;" in page and "left to another host" in page
    (study,) = storage.list_studies()
    assert "1 attempt failed: startup on tpu-7" in client.get(f"/studies/{study.name}").text
