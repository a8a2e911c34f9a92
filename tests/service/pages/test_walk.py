"""The pages by keyboard, while a search runs, and without scripts."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage.records import StudyState, TrialState
from tests.plugins.browser import PHONE, OpenPage
from tests.service.conftest import TOKEN
from tests.service.pages.gallery import FINISHED, Gallery
from tests.storage.builders import ANNA, FINGERPRINT, a_lease, a_study, a_trial, stored_study
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from playwright.sync_api import Request

ROOT = Path(__file__).resolve().parents[3]
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
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        if reached[-1] == FINISHED:
            break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", reached
    assert {"q", "state", "accelerator", "Filter"} <= set(reached) and reached[-1] == FINISHED
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}/studies/{FINISHED}")
    summary = page.locator("#map-data > summary")
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("#map-data").evaluate("element => element.open") is True


def test_an_open_page_follows_the_search_to_its_end(open_page: OpenPage, site: str, gallery: Gallery) -> None:
    storage = gallery.storage
    study = storage.create_study(a_study(name="followed", objective="throughput"))
    storage.swap_lease(study.id, None, a_lease(study.id, heartbeat=time.time() + PATIENCE_S))
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


def test_what_another_process_measures_appears_without_a_reload(open_page: OpenPage, site: str, gallery: Gallery) -> None:
    written = stored_study(gallery.storage, name="written", objective="throughput")
    gallery.storage.swap_lease(written.id, None, a_lease(written.id, heartbeat=time.time() + PATIENCE_S))

    def write(first: int, count: int) -> None:
        command = [sys.executable, "-m", "tests.storage.writer", gallery.url, str(first), str(count), "written"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE_S)

    page = open_page(f"{site}/studies/written").page
    page.evaluate("window.sameDocument = true")
    assert "0 of 0 trials finished" in page.inner_text("main")
    for first, count in ((0, 2), (2, 1)):
        write(first, count)
        page.wait_for_selector(f"text={first + count} of {first + count} trials finished")
        values = page.locator("#map-data tbody tr td:last-child").all_text_contents()
        assert [value.strip() for value in values] == [str(first + count - 1)]  # of a cell the latest trial
    assert page.evaluate("window.sameDocument") is True


def test_nothing_is_asked_any_more_when_the_study_has_ended(open_page: OpenPage, site: str, gallery: Gallery) -> None:
    study = stored_study(gallery.storage, name="ending", objective="throughput")
    gallery.storage.swap_lease(study.id, None, a_lease(study.id, heartbeat=time.time() + PATIENCE_S))
    live = f"{site}/studies/ending/live"
    watched = open_page(f"{site}/studies/ending")
    page = watched.page
    page.clock.install()
    page.reload()
    for _ in range(2):
        with page.expect_request(live):
            page.clock.run_for(6_000)
    gallery.storage.update_study(study.id, state=StudyState.COMPLETE)
    with page.expect_navigation():  # the page is loaded again, once, for the verdicts
        page.clock.run_for(6_000)
    page.wait_for_selector(".title >> text=empty")
    asked = len(watched.requests)
    page.clock.run_for(120_000)
    page.wait_for_load_state("networkidle")
    assert watched.requests[asked:] == []
    assert watched.errors == []


def test_without_scripts_everything_is_there(open_page: OpenPage, site: str, gallery: Gallery) -> None:
    watched = open_page(f"{site}{gallery.pages()['recommendation']}", size=PHONE, javascript=False)
    text = watched.page.inner_text("main")
    assert "vllm serve" in text and "Scope and caveats" in text
    assert watched.page.locator("button.copy").count() == watched.page.locator("button.copy[hidden]").count() == 3


def test_a_visitor_gets_flags_without_scripts(open_page: OpenPage, site: str, gallery: Gallery) -> None:
    """From the first page, by keyboard, on a phone: type what is served, press Enter, read the flags; the address can be passed on."""
    watched = open_page(site, size=PHONE, javascript=False)
    page = watched.page
    page.get_by_label("Model", exact=True).fill(gallery.recommendation.model)
    page.get_by_label("SLO", exact=True).fill("ttft_p99_ms <= 400")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?model=*")
    assert page.url == f"{site}/?model={gallery.recommendation.model}&slo=ttft_p99_ms%3C%3D400"
    assert "vllm serve" in page.inner_text("#command") and "Measured for exactly this" in page.inner_text("main")
    page.get_by_role("link", name="The evidence").click()
    page.wait_for_url(f"**/recommendations/{gallery.recommendation.id}")


def test_what_was_typed_wrongly_is_told_at_its_field(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/?model=x&slo=soon").page
    field = page.get_by_label("SLO", exact=True)
    assert field.get_attribute("aria-invalid") == "true" and field.input_value() == "soon"
    assert "cannot be read" in page.locator(f"#{field.get_attribute('aria-describedby')}").inner_text()


def test_a_study_is_renamed_and_deleted_in_a_real_browser(open_page: OpenPage, site: str, gallery: Gallery) -> None:
    """Its forms come from our own page, and Chromium says so (under no-referrer it would say "null"); without scripts."""
    gallery.storage.create_study(a_study(name="misnamed", state=StudyState.COMPLETE))
    page = open_page(f"{site}/studies/misnamed", javascript=False).page
    page.get_by_role("link", name="Rename, tag, archive or delete it").click()
    page.get_by_label("New name").fill("well-named")
    page.get_by_label("Token with the scope manage").fill("wrong-token-0123456789")
    page.get_by_role("button", name="Rename").click()
    assert "unknown, expired or revoked" in page.locator("#token-error").inner_text()
    assert page.get_by_label("New name").input_value() == "well-named", "what was typed stays"
    page.get_by_label("Token with the scope manage").fill(TOKEN)
    page.get_by_role("button", name="Rename").click()
    page.wait_for_url(f"{site}/studies/well-named/keep")
    assert "misnamed -> well-named" in page.inner_text("main")
    page.get_by_label("To delete it, type its name").fill("well-named")
    page.get_by_label("Token with the scope manage").fill(TOKEN)
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url(f"{site}/audit")
    assert "well-named, 0 trials" in page.inner_text("main")
    assert {study.name for study in gallery.storage.list_studies()}.isdisjoint({"misnamed", "well-named"})


def test_enter_in_a_form_that_changes_something_presses_no_button(open_page: OpenPage, site: str, gallery: Gallery) -> None:
    """Without scripts. What Enter would send is seen at the network, whatever the service says to it."""
    sent: list[str] = []

    def note(request: Request) -> None:
        sent.append(f"{request.method} {request.url}")

    study = gallery.storage.create_study(a_study(name="left-alone", state=StudyState.COMPLETE))
    for address, opened, fields in (
        (f"/recommendations/{gallery.recommendation.id}", "#mark summary", ("Token with the scope publish", "Reason, for the audit trail")),
        (
            f"/studies/{study.name}/keep",
            "",
            ("Tags, apart by spaces", "To delete it, type its name", "New name", "Token with the scope manage"),
        ),
    ):
        page = open_page(f"{site}{address}", javascript=False).page
        if opened:
            page.click(opened)
        for label in fields:
            page.get_by_label(label).fill("a-word")
        page.on("request", note)
        for label in fields:
            page.get_by_label(label).press("Enter")
            page.wait_for_timeout(100)
        assert sent == [] and page.url == f"{site}{address}"
        assert page.get_by_label(fields[0]).input_value() == "a-word"
    gallery.storage.delete_study(study.id, by=ANNA)


def test_a_mark_of_a_picture_says_what_it_is_and_leads_to_its_trial(open_page: OpenPage, site: str, gallery: Gallery) -> None:
    """By pointer and by keyboard; an image could do neither."""
    page = open_page(f"{site}/studies/{FINISHED}").page
    section = page.locator("section:has(#map-title)")
    marks, said = section.locator(".drawn svg a"), section.locator(".pointed")
    marks.first.wait_for()
    trials = [trial for trial in gallery.storage.list_trials(gallery.storage.get_study(FINISHED).id) if trial.stage == "search"]
    assert marks.count() == len(trials) > 20 and "arrow keys" in said.inner_text()
    marks.nth(4).hover()
    assert said.inner_text() == marks.nth(4).get_attribute("aria-label")
    page.mouse.move(0, 0)
    section.locator("svg a[tabindex='0']").focus()
    last = len(trials) - 1
    for key, place in (("ArrowRight", 1), ("ArrowDown", 2), ("ArrowLeft", 1), ("End", last), ("ArrowRight", last), ("Home", 0)):
        page.keyboard.press(key)
        assert said.inner_text() == marks.nth(place).get_attribute("aria-label"), key
    assert section.locator("svg a[tabindex='0']").count() == 1, "one stop for the Tab key"
    address = marks.first.get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}{address}")
    assert str(address).startswith("/trials/")


def test_another_colour_scheme_draws_the_picture_anew_with_its_links(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/studies/{FINISHED}").page
    page.locator("section:has(#map-title) .drawn svg a").first.wait_for()
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("section:has(#map-title) .drawn[data-address*='scheme=dark'] svg a")
    assert page.locator("section:has(#map-title) .drawn svg").count() == 1


def test_without_scripts_the_picture_stays_and_its_table_has_the_links(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/studies/{FINISHED}", javascript=False).page
    assert page.locator("section:has(#map-title) picture img").is_visible() and page.locator(".drawn").count() == 0
    assert page.locator("#map-data a").count() > 20
