"""Published recommendations after an upgrade: measured again in pairs, withdrawn, renewed or left, and what the next answer says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from storage.records import Actor, Recommendation
from tests.tuner.fake_engine import FOUND, FakeLauncher, value_of
from tests.tuner.workbench import Workbench
from tuner.advice.advice import advise
from tuner.advice.lookup import Query
from tuner.core.errors import FailureClass, TrialFailed
from tuner.search.opening import find_study
from tuner.search.plan import plan_search
from tuner.search.study import StudyRun
from tuner.setup.config import StudyConfig
from tuner.setup.space import Configuration
from tuner.setup.study_setup import prepare_study
from tuner.trials.progress import Progress
from tuner.upkeep.present import submitted
from tuner.upkeep.revalidate import Outcome, Present, Step, Ways, revalidate

pytestmark = pytest.mark.slow

BY = Actor("anna")
NEW = {"vllm": "1"}


class Upgrade:
    """A published recommendation of vLLM 0, and vLLM 1 on the machine."""

    def __init__(self, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench = bench
        bench.run(chunk_budgets=[256])
        (found,) = bench.storage.list_recommendations()
        self.record = bench.storage.mark_recommendation(found.id, published=True, by=BY)
        self.launcher = FakeLauncher()
        monkeypatch.setitem(FOUND, "versions", NEW)

    def begin(self, config: StudyConfig, _record: Recommendation, _versions: Mapping[str, str]) -> None:
        storage = self.bench.storage
        plan = plan_search(prepare_study(config), storage, resume=find_study(storage, config.study) is not None)
        StudyRun(plan, storage, self.launcher, Progress()).run()

    def look(self, begin: Callable[..., str | None] | None = None, versions: dict[str, str] | None = None) -> Outcome:
        places = {"storage": self.bench.url, "logdir": str(self.bench.folder / "profiles")}
        present = Present(lambda _accelerator, _devices: NEW if versions is None else versions)
        (found,) = revalidate(self.bench.storage, present, Ways(BY, begin, places))
        return found

    def ask(self, **changes: Any) -> Any:
        return advise(self.bench.storage, Query(model="tiny-qwen3", accelerator="fake engine", device_count=1, workload="demo", **changes))


@pytest.fixture
def upgrade(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> Upgrade:
    return Upgrade(bench, monkeypatch)


def _without_gain(configuration: Configuration) -> float:
    return value_of(configuration) * (0.8 if configuration.arm == "page_aligned" else 1.0)


def test_nothing_is_due_without_a_change(upgrade: Upgrade) -> None:
    assert upgrade.look(upgrade.begin, {"vllm": "0"}).step is Step.CURRENT
    assert upgrade.look(upgrade.begin, {"unheard_of": "9"}).step is Step.CURRENT
    assert [study.name for study in upgrade.bench.storage.list_studies()] == ["s"]


def test_a_dry_run_says_what_and_why_and_changes_nothing(upgrade: Upgrade) -> None:
    found = upgrade.look()
    assert (found.step, found.why) == (Step.TO_MEASURE, ("vllm was 0, is 1",))
    assert "in pairs of engine starts" in found.told or "in pairs of rounds" in found.told
    assert [study.name for study in upgrade.bench.storage.list_studies()] == ["s"]
    assert upgrade.bench.storage.get_recommendation(upgrade.record.id) == upgrade.record


def test_what_still_holds_is_renewed_once(upgrade: Upgrade) -> None:
    before = upgrade.ask(versions=NEW)
    assert before.stale["stale"]
    found = upgrade.look(upgrade.begin)
    assert found.step is Step.HOLDS, found
    answer = upgrade.ask(versions=NEW)
    assert (answer.id, answer.settings, answer.stale["stale"]) == (found.successor, before.settings, False)
    assert answer.config == before.config and answer.scope["versions"] == NEW
    assert answer.evidence["study"] == found.study and "still holds" in answer.reason
    assert upgrade.bench.storage.get_recommendation(upgrade.record.id).withdrawn_at is not None
    assert upgrade.look(upgrade.begin).step is Step.CURRENT


def test_what_no_longer_holds_is_withdrawn_and_the_next_answer_says_why(upgrade: Upgrade) -> None:
    upgrade.launcher = FakeLauncher(value=_without_gain)
    found = upgrade.look(upgrade.begin)
    assert (found.step, found.successor) == (Step.WITHDRAWN, None), found
    entry = upgrade.bench.storage.list_audit(kind="recommendation", subject=str(upgrade.record.id), limit=1)[0]
    assert (entry.action, "it loses" in entry.reason) == ("withdraw", True)
    answer = upgrade.ask(versions=NEW)
    assert answer.evidence["study"] == found.study and answer.settings["arm"] == "default", "the successor"
    assert any(f"recommendation {upgrade.record.id} was withdrawn" in note and "it loses" in note for note in answer.caveats)


def test_what_fails_now_is_withdrawn(upgrade: Upgrade) -> None:
    def refuse(configuration: Configuration, _nth: int) -> None:
        if configuration.arm == "page_aligned":
            raise TrialFailed(FailureClass.OUT_OF_MEMORY, f"no memory for\n{configuration}")

    upgrade.launcher = FakeLauncher(on_warm_up=refuse)
    found = upgrade.look(upgrade.begin)
    assert found.step is Step.WITHDRAWN and "out_of_memory" in found.told, found
    assert any("out_of_memory: no memory for page_aligned" in note for note in upgrade.ask(versions=NEW).caveats)


def test_what_the_machine_failed_stays_published(upgrade: Upgrade) -> None:
    def fail(_configuration: Configuration, _nth: int) -> None:
        raise TrialFailed(FailureClass.TIMEOUT, "too slow")

    upgrade.launcher = FakeLauncher(on_warm_up=fail)
    assert upgrade.look(upgrade.begin).step is Step.UNDECIDED
    assert upgrade.bench.storage.get_recommendation(upgrade.record.id) == upgrade.record


def test_what_was_measured_with_other_versions_decides_nothing(upgrade: Upgrade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FOUND, "versions", {"vllm": "0.5"})
    found = upgrade.look(upgrade.begin)
    assert (found.step, "other versions: vllm was 0.5, is 1" in found.told) == (Step.UNDECIDED, True)


def test_submitted_studies_are_waited_for_and_concluded_by_a_later_call(upgrade: Upgrade) -> None:
    storage = upgrade.bench.storage
    put = lambda config, record, versions: submitted(storage, config, record, versions, by="cron")  # noqa: E731
    first, again = upgrade.look(put), upgrade.look(put)
    assert first.step is again.step is Step.WAITING and first.told == again.told == f"submission 1 of study {first.study} is QUEUED"
    (queued,) = storage.list_submissions()
    assert queued.requirements["versions"] == {"vllm": "==1"} and queued.requirements["accelerator"] == "fake engine"
    storage.cancel_submission(queued.id, by="ben", reason="not now")
    refused = upgrade.look(put)
    assert refused.step is Step.FAILED and "not now" in refused.told
    assert upgrade.look(upgrade.begin).step is Step.HOLDS
