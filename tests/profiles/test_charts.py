"""Pictures: valid XML, bars as long as the numbers, nothing outside the frame, hostile labels escaped."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import svg
from profiles.charts import COLOURS, Labelled, breakdown, step_times, waterfall
from profiles.classify import Category
from profiles.diff import diff
from profiles.errors import ProfileError
from profiles.summary import Summary
from tests.profiles.test_diff import summary

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Summary, Summary]:
    return summary(tmp_path, "before"), summary(tmp_path, "after", factor={"tuner_kv_write": 1.5})


def rects(root: ElementTree.Element) -> list[dict[str, Any]]:
    names = ("x", "y", "width", "height")
    return [
        {**{name: float(found.attrib[name]) for name in names}, "fill": found.attrib["fill"], "tip": found.findtext(f"{SVG}title") or ""}
        for found in root.iter(f"{SVG}rect")
    ]


def inside_the_frame(root: ElementTree.Element) -> None:
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for each in rects(root):
        assert each["x"] >= -0.01 and each["x"] + each["width"] <= width + 0.01
        assert each["y"] >= 0 and each["y"] + each["height"] <= height + 0.01
    for label in root.iter(f"{SVG}text"):
        assert 0 <= float(label.attrib["x"]) <= width and 0 <= float(label.attrib["y"]) <= height


def test_the_breakdown_is_as_long_as_the_step_and_in_proportion(pair: tuple[Summary, Summary]) -> None:
    root = ElementTree.fromstring(breakdown([Labelled("default", pair[0]), Labelled("aligned", pair[1])], ("all", "prefill", "decode")))
    inside_the_frame(root)
    bars = [each for each in rects(root) if each["tip"]]
    by_row: dict[float, list[dict[str, Any]]] = {}
    for each in bars:
        by_row.setdefault(each["y"], []).append(each)
    assert len(by_row) == 4  # two arms, two phases with steps
    scale = None
    for row, profile in zip(by_row.values(), [pair[0], pair[1]] * 2, strict=True):
        length = sum(each["width"] for each in row)
        scale = scale or length / profile.phases["all"]["step_ms"]["mean"]
        assert length == pytest.approx(scale * profile.phases["all"]["step_ms"]["mean"], abs=0.1)
        kv = next(each for each in row if each["fill"] == COLOURS[Category.KV_WRITE])
        assert kv["width"] == pytest.approx(scale * profile.phases["all"]["categories_ms"]["kv_write"], abs=0.05)
    assert "kv_write: 0.024 ms" in "".join(each["tip"] for each in bars)


def test_the_waterfall_leads_from_one_step_time_to_the_other(pair: tuple[Summary, Summary]) -> None:
    found = diff([pair[0]], [pair[1]])
    root = ElementTree.fromstring(waterfall(found, ("default", "page_aligned")))
    inside_the_frame(root)
    bars = [each for each in rects(root) if each["tip"]]
    first, change, last = bars[0], bars[1], bars[-1]
    assert change["tip"].startswith("kv_write: +0.012 ms")
    assert change["x"] == pytest.approx(first["x"] + first["width"], abs=0.1)
    assert change["x"] + change["width"] == pytest.approx(last["x"] + last["width"], abs=0.1)
    text = "".join(root.itertext())
    assert "axis from" in text  # a small change of a long step is zoomed, and says so
    assert "page_aligned against default: +0.012" in text
    assert [each["tip"] for each in bars[2:-1] if "may be chance" not in each["tip"]] == []


def test_a_comparison_of_unlike_things_says_so_in_the_picture(pair: tuple[Summary, Summary], tmp_path: Path) -> None:
    other = summary(tmp_path, "other", block_size=64)
    assert "Not like with like: page size differs" in waterfall(diff([pair[0]], [other], allow_different=True))


def test_step_times_rise_from_nothing_to_all_steps(pair: tuple[Summary, Summary]) -> None:
    root = ElementTree.fromstring(step_times([Labelled("default", pair[0]), Labelled("aligned", pair[1])]))
    inside_the_frame(root)
    curves = [[tuple(map(float, point.split(","))) for point in each.attrib["points"].split()] for each in root.iter(f"{SVG}polyline")]
    assert len(curves) == 2
    for curve in curves:
        assert len(curve) == 1 + 2 * 15
        assert [x for x, _ in curve] == sorted(x for x, _ in curve)
        assert [y for _, y in curve] == sorted((y for _, y in curve), reverse=True)
    assert curves[0][0][0] < curves[1][0][0]


def test_phases_without_steps_are_refused(pair: tuple[Summary, Summary]) -> None:
    profiles = [Labelled("default", pair[0])]
    with pytest.raises(ProfileError, match="choose another --phase"):
        breakdown(profiles, ("decode",))
    with pytest.raises(ProfileError, match="choose another --phase"):
        step_times(profiles, "decode")


@given(st.text(max_size=30))
def test_any_label_gives_valid_xml(label: str) -> None:
    root = ElementTree.fromstring(svg.document(10, 10, label, [svg.text(1, 1, label), svg.rect(0, 0, 1, 1, "#000000", label)]))
    assert len(root) == 3


@given(st.floats(0, 1e9), st.floats(1e-6, 1e9))
def test_ticks_enclose_the_values_and_are_few(lowest: float, extent: float) -> None:
    found = svg.ticks(lowest, lowest + extent)
    assert found[0] <= lowest * (1 + 1e-6) + 1e-9 and found[-1] >= (lowest + extent) * (1 - 1e-6)
    assert 2 <= len(found) <= 13


def test_numbers_are_short_and_finite() -> None:
    assert [svg.number(value) for value in (1.0, 1.239, 100, 0.001, -2.5)] == ["1", "1.24", "100", "0", "-2.5"]
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="cannot be drawn"):
            svg.number(bad)


def test_every_category_has_its_own_colour() -> None:
    assert set(COLOURS) == set(Category)
    assert len(set(COLOURS.values())) == len(COLOURS)
    assert all(re.fullmatch(r"#[0-9a-f]{6}", colour) for colour in COLOURS.values())


def test_a_trials_name_is_not_cut_off(pair: tuple[Summary, Summary]) -> None:
    label = "a-study:12 page_aligned p128 b1024"
    root = ElementTree.fromstring(breakdown([Labelled(label, pair[0])], ("prefill",)))
    (name,) = [text for text in root.iter(f"{SVG}text") if (text.text or "").startswith(label)]
    assert name.attrib["text-anchor"] == "end"
    assert float(name.attrib["x"]) >= 6 * len(name.text or "")
    inside_the_frame(root)
