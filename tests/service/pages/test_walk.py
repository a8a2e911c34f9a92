"""The pages by keyboard, while a search runs, and without scripts."""

from __future__ import annotations

import pytest

from storage.records import StudyState, TrialState
from tests.plugins.browser import PHONE, OpenPage
from tests.service.pages.gallery import FINISHED, Gallery
from tests.storage.builders import FINGERPRINT, a_study, a_trial

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_a_keyboard_reaches_everything_and_sees_where_it_is(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/studies").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim() || document.activeElement.id"))
        if reached[-1] == FINISHED:
            break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", reached
    assert {"model", "Filter"} <= set(reached) and reached[-1] == FINISHED
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}/studies/{FINISHED}")
    summary = page.locator("#map-data > summary")
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("#map-data").evaluate("element => element.open") is True


def test_an_open_page_follows_the_search_to_its_end(open_page: OpenPage, site: str, gallery: Gallery) -> None:
    storage = gallery.storage
    study = storage.create_study(a_study(name="followed", objective="throughput"))
    trials = [storage.create_trial(a_trial(study.id, number, state=TrialState.RUNNING, environment=FINGERPRINT)) for number in range(2)]
    watched = open_page(f"{site}/studies/followed")
    assert "0 of 2 trials finished" in watched.page.inner_text("main")
    storage.finish_trial(trials[0].id, TrialState.COMPLETE, values={"throughput": 5.0})
    watched.page.wait_for_selector("text=1 of 2 trials finished")
    watched.page.locator("#map-data > summary").click()
    storage.finish_trial(trials[1].id, TrialState.COMPLETE, values={"throughput": 7.0})
    watched.page.wait_for_selector("text=2 of 2 trials finished")
    assert watched.page.locator("#map-data").evaluate("element => element.open") is True  # what was opened stays open
    storage.update_study(study.id, state=StudyState.COMPLETE)
    watched.page.wait_for_selector("text=The search ended before its finalists were measured")
    assert watched.errors == []


def test_without_scripts_everything_is_there(open_page: OpenPage, site: str, gallery: Gallery) -> None:
    watched = open_page(f"{site}{gallery.pages()['recommendation']}", size=PHONE, javascript=False)
    text = watched.page.inner_text("main")
    assert "vllm serve" in text and "Scope and caveats" in text
    assert watched.page.locator("button.copy").count() == watched.page.locator("button.copy[hidden]").count() == 3
