"""Why a cell is what it is: command line, report, pages and API say the same sentence, also of a study that an older version stored."""

from __future__ import annotations

import json
from dataclasses import replace
from html import unescape

import pytest
from click.testing import CliRunner

from tests.service.conftest import MakeClient
from tests.tuner.fake_engine import FakeLauncher, step_records
from tests.tuner.workbench import Workbench
from tuner.cli.command_line import cli
from tuner.core.contract import ARM_PAGE_ALIGNED, WindowResult
from tuner.setup.space import Configuration
from tuner.verdict.cell_cause import CAUSE

pytestmark = pytest.mark.slow  # a study through all ways out


def stepped(configuration: Configuration, _nth: int, result: WindowResult) -> WindowResult:
    """With alignment one step fewer at the small budget, and smaller padded sizes at the large one."""
    aligned, small = configuration.arm == ARM_PAGE_ALIGNED, configuration.max_num_batched_tokens == 128
    steps = step_records(0.5, count=9 if aligned and small else 10)
    return replace(result, steps=tuple(replace(step, padded_tokens=112) for step in steps) if aligned and not small else steps)


@pytest.mark.parametrize("stored_by", ["this version", "an older version"])
def test_all_four_say_the_same_of_every_cell(bench: Workbench, make_client: MakeClient, stored_by: str) -> None:
    bench.run(FakeLauncher(on_measure=stepped))
    study = bench.storage.get_study("s")
    stored = bench.storage.list_comparisons(study.id)
    sentences = [item.details[CAUSE]["sentence"] for item in stored if item.metric == "total_token_throughput"]
    assert sentences[0].startswith("9 steps against 10, 10 % fewer scheduled tokens, 10 % fewer padded tokens: ")
    assert sentences[1].startswith("the same 10 steps and tokens, 12 % fewer padded tokens: ")
    if stored_by == "an older version":
        older = [replace(item, details={name: value for name, value in item.details.items() if name != CAUSE}) for item in stored]
        bench.storage.replace_comparisons(study.id, older)

    def said(*arguments: str) -> str:
        result = CliRunner().invoke(cli, [*arguments, "--storage", bench.url])
        assert result.exit_code == 0, result.output
        return result.output

    client = make_client(bench.storage)
    pair = f"baseline={stored[0].baseline_trial_id}&candidate={stored[0].candidate_trial_id}"
    texts = {
        "table": said("compare", "s"),
        "markdown": said("compare", "s", "--format", "markdown"),
        "html": unescape(said("compare", "s", "--format", "html")),
        "page of the study": unescape(client.get("/studies/s").text),
    }
    for name, text in texts.items():
        assert [sentence for sentence in sentences if sentence not in text] == [], name
    assert sentences[0] in unescape(client.get(f"/compare?{pair}").text)
    for items in (json.loads(said("compare", "s", "--json"))["comparisons"], client.get("/v1/studies/s/comparison").json()["items"]):
        causes = [item["cause"] for item in items if item["metric"] == "total_token_throughput"]
        assert [cause["sentence"] for cause in causes] == sentences
        assert causes[1]["default"]["padded_tokens"] == 1280 and causes[1]["page_aligned"]["padded_tokens"] == 1120


def test_a_study_without_steps_says_unknown_everywhere(bench: Workbench, make_client: MakeClient) -> None:
    bench.run()
    result = CliRunner().invoke(cli, ["compare", "s", "--storage", bench.url])
    assert "unknown: the launcher sees no steps" in result.output
    client = make_client(bench.storage)
    assert "unknown: the launcher sees no steps" in client.get("/studies/s").text
    assert client.get("/v1/studies/s/comparison").json()["items"][0]["cause"]["default"] is None
