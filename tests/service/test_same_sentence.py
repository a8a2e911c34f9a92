"""One sentence a study: the command line, the report, the page and the API say the very same, whatever kind of study it is."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest

from service.pages.answer_view import headline
from storage.base import Storage
from storage.records import StudyState, Trial, TrialState
from tests.service.conftest import MakeClient
from tests.storage.builders import FINGERPRINT, a_measurement, a_study, a_trial, a_workload, an_environment
from tests.storage.raw import url_of
from tests.tuner.evidence_builder import REQUESTED
from tuner.cli.command_line import run
from tuner.verdict.cell_claims import Place
from tuner.verdict.study_answer import StudyAnswer

pytestmark = pytest.mark.slow  # each kind of study goes through all ways out

THROUGHPUT, TTFT = "total_token_throughput", "ttft_p99_ms"
CELLS: list[Place] = [(page, budget) for page in (16, 32, 64) for budget in (128, 256)]
Effect = Callable[[Place], float]


@dataclass(frozen=True)
class Kind:
    """A kind of study: the true effects on throughput and on TTFT, page_aligned / default, and what was asked and happened."""

    answer: str
    says: Sequence[str]
    effect: Effect = lambda place: 1.0
    ttft_effect: Effect = lambda place: 1.0
    cells: Sequence[Place] = field(default_factory=lambda: CELLS)
    arms: Sequence[str] = ("default", "page_aligned")
    fails: Callable[[Place, str], bool] = lambda place, arm: False
    sd: float = 0.003
    drift: float = 0.0  # of both arms, a round
    rounds: int = 8
    objective: str = "throughput"
    slos: Sequence[str] = ()
    state: StudyState = StudyState.COMPLETE


def bad(places: Sequence[Place], effect: float = 0.6, others: float = 1.0) -> Effect:
    return lambda place: effect if place in places else others


KINDS = {
    "on": Kind("on", ["wins in 6 of 6 cells (best: page size", "loses more than 1 % in none"], bad([], others=1.05)),
    "off": Kind(
        "off", ["loses in 1 of 6 cells (worst: page size 64, chunk budget 128: -67 % throughput), wins in none"], bad([(64, 128)], 0.33)
    ),
    "on where": Kind(
        "on_where",
        ["on where page size at most a quarter of the chunk budget: there", "elsewhere it loses in the only cell"],
        bad([(64, 128)], others=1.05),
    ),
    "mixed": Kind(
        "mixed",
        ["wins in 3 of 6 cells", "loses in 3 of 6 cells", "no simple rule"],
        lambda place: 1.05 if CELLS.index(place) in (0, 3, 4) else 0.9,
    ),
    "no difference": Kind("no_difference", ["changes throughput by less than 1 % in all 6 cells"], sd=0.001),
    "no arm decided": Kind("undecided", ["none of 6 cells", "rounds a cell would tell at the noise seen", "quieter machine"], sd=0.05),
    "one cell": Kind(
        "on", ["wins in the only cell (page size 16, chunk budget 128: +4.9 % throughput)"], bad([], others=1.05), cells=[(16, 128)]
    ),
    "one arm": Kind("undecided", ["undecided: only the default arm was measured"], arms=["default"]),
    "all failed": Kind("undecided", ["undecided: none of 12 trials completed (out_of_memory)"], fails=lambda place, arm: True),
    "one arm fails": Kind(
        "undecided",
        ["wins in 5 of 6 cells", "1 cell has too few valid pairs (page size 64, chunk budget 128: no valid pair: the page_aligned trial"],
        bad([], others=1.05),
        fails=lambda place, arm: place == (64, 128) and arm == "page_aligned",
    ),
    "a cell that runs in neither arm": Kind(
        "on", ["wins in 5 of 5 cells"], bad([], others=1.05), fails=lambda place, arm: place == (64, 128)
    ),
    "nothing measured": Kind("undecided", ["undecided: nothing was measured"], cells=[]),
    "interrupted": Kind("undecided", ["--resume"], bad([], others=1.05), rounds=1, state=StudyState.INTERRUPTED),
    "interrupted late": Kind("on", ["wins in 6 of 6 cells"], bad([], others=1.05), state=StudyState.INTERRUPTED),
    "drifted": Kind("on", ["wins in 6 of 6 cells"], bad([], others=1.05), drift=-0.02),
    "less is better": Kind("on", ["wins in 6 of 6 cells (best", "% TTFT (p99))"], ttft_effect=bad([], others=0.9), objective=TTFT),
    "less is better, and it is more": Kind("off", ["+11 % TTFT (p99)), wins in none"], ttft_effect=bad([], others=1.11), objective=TTFT),
    "two objectives that disagree": Kind(
        "trade_off",
        ["trade-off: 4.0 % more throughput, at 28 % more TTFT (p99) on average over 6 cells", "in TTFT (p99) (worst"],
        bad([], others=1.04),
        bad([], others=1.28),
        sd=0.001,
        objective=f"throughput,{TTFT}",
    ),
    "two objectives that agree": Kind(
        "on", ["in throughput (best", "in TTFT (p99) (best"], bad([], others=1.04), bad([], others=0.9), objective=f"throughput,{TTFT}"
    ),
    "an SLO that nothing meets": Kind(
        "undecided", ["no configuration meets ttft_p99_ms<=1, so there is nothing"], bad([], others=1.05), slos=["ttft_p99_ms<=1"]
    ),
    "an SLO that only the default meets": Kind(
        "trade_off",
        ["5.0 % more throughput on average over 6 cells: page-aligned", "misses ttft_p99_ms<=110 in 6 cells where the default meets it"],
        bad([], others=1.05),
        bad([], others=1.3),
        sd=0.001,
        slos=["ttft_p99_ms<=110"],
    ),
    "two SLOs that nothing meets at once": Kind(
        "off",
        ["wins in none", "no configuration meets ttft_p99_ms<=90 and total_token_throughput>=950 at once"],
        bad([], others=0.9),
        bad([], others=0.8),
        slos=["ttft_p99_ms<=90", "total_token_throughput>=950"],
    ),
}


def stored(storage: Storage, name: str, kind: Kind) -> None:
    """Measurements alone: the answer is made of them, as of a study that an older version ended."""
    storage.put_environment(an_environment())
    storage.put_workload(a_workload())
    study = storage.create_study(a_study(name=name, objective=kind.objective, config={"slos": list(kind.slos)}))
    rng = np.random.default_rng(11)
    number = 0
    for place in kind.cells:
        common = 0.02 * rng.standard_normal(kind.rounds) + kind.drift * np.arange(kind.rounds)
        for arm in kind.arms:
            state = {"block_size": place[0], "max_num_batched_tokens": place[1], "arm": arm, "requested": REQUESTED}
            trial = storage.create_trial(a_trial(study.id, number, **state))
            storage.start_trial(trial.id, environment=FINGERPRINT, effective={})
            number += 1
            if kind.fails(place, arm):
                storage.finish_trial(trial.id, TrialState.FAIL, error_class="out_of_memory", error_message="no room")
                continue
            effects = (kind.effect(place), kind.ttft_effect(place)) if arm == "page_aligned" else (1.0, 1.0)
            _measure(storage, trial, effects, common + kind.sd * rng.standard_normal(kind.rounds), common)
            storage.finish_trial(trial.id, TrialState.COMPLETE, values={kind.objective.partition(",")[0]: 1.0})
    storage.update_study(study.id, state=kind.state)


def _measure(storage: Storage, trial: Trial, effects: tuple[float, float], noise: np.ndarray, common: np.ndarray) -> None:
    for place, log in enumerate(noise):
        metrics = {
            THROUGHPUT: 1000 * effects[0] * math.exp(log),
            TTFT: 100 * effects[1] * math.exp(common[place] - log),
        }
        storage.add_measurement(a_measurement(trial.id, round=place, metrics=metrics))


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the report: they take two thirds of a kind's time and say nothing; test_evidence_report.py looks at them."""
    monkeypatch.setattr("tuner.report.evidence_html._in_both", lambda *_: "")


@pytest.mark.parametrize("name", KINDS)
def test_everybody_says_the_same_sentence(storage: Storage, make_client: MakeClient, capsys: pytest.CaptureFixture[str], name: str) -> None:
    kind = KINDS[name]
    stored(storage, "s", kind)
    client, tuner = make_client(storage), partial(printed, capsys)
    at = ("--storage", url_of(storage))
    answer = client.get("/v1/studies/s/comparison").json()["answer"]
    sentence = answer["sentence"]
    assert answer["answer"] == kind.answer, sentence
    assert all(words in sentence for words in kind.says), sentence
    assert json.loads(tuner("compare", "s", "--json", *at))["answer"] == answer
    assert json.loads(tuner("show", "s", "--json", *at))["answer"] == answer
    for command in ("compare", "show"):
        assert f"answer: {sentence}\n" in tuner(command, "s", *at)
    if kind.cells:
        assert f"the study's answer: {sentence}\n" in tuner("recommend", "s", *at)
    for form, around in (("markdown", "**{}**"), ("html", '<p class="answer">{}</p>')):
        assert around.format(sentence) in html.unescape(tuner("compare", "s", "--format", form, *at))
    page = html.unescape(client.get("/studies/s").text)
    assert f'<p class="sentence">{sentence}</p>' in page
    in_short = headline(StudyAnswer.from_json(answer))
    assert f"<strong>{in_short}</strong>" in page and in_short in client.get("/studies").text
    assert answer["beside"] == "" or answer["beside"][1:] in page
