from __future__ import annotations

import re

import pytest

from service.pages.ask_view import read, search_command, study_name
from tuner.setup.config import check_study_name


@pytest.mark.parametrize("model", ["Qwen/Qwen3-0.6B", "/models/of mine/", "org/ÄÖÜ", "...", "x" * 300, "a/b/", "-x", "模型"])
@pytest.mark.parametrize("workload", [None, "chat", "synthetic:input=64-256,output=16"])
def test_the_name_of_the_search_is_one_that_it_takes(model: str, workload: str | None) -> None:
    name = study_name(model, workload)
    check_study_name(name)
    assert workload is None or workload.partition(":")[0] in name or len(name) == 60


def test_every_part_of_the_question_is_in_the_search() -> None:
    pairs = [
        ("model", "org/it's"),
        ("workload", "chat"),
        ("objective", "ttft_p99_ms"),
        ("slo", "ttft_p99_ms<=5"),
        ("slo", "tpot_p99_ms<=1"),
    ]
    question = read(pairs)
    assert question.asked is not None and not question.errors
    words = re.sub(r"\s+", " ", search_command(question.asked).replace("\\\n", " ")).strip()
    assert words == (
        "tuner search --model 'org/it'\"'\"'s' --study it-s-chat --workload chat --objective ttft_p99_ms "
        "--slo 'ttft_p99_ms<=5' --slo 'tpot_p99_ms<=1'"
    )


def test_nothing_asked_is_no_question() -> None:
    for pairs in ([], [("model", " ")], [("slo", ""), ("slo", " ")]):
        found = read(pairs)
        assert (found.asked, dict(found.errors), found.query) == (None, {}, "")


def test_one_more_limit_can_always_be_typed() -> None:
    assert list(read([]).slos) == ["", ""]
    given = [("model", "x"), *(("slo", f"ttft_p99_ms<={number}") for number in range(3))]
    assert list(read(given).slos) == ["ttft_p99_ms<=0", "ttft_p99_ms<=1", "ttft_p99_ms<=2", ""]
