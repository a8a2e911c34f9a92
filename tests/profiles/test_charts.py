"""Pictures: valid XML, bars as long as the numbers, nothing outside the frame, hostile labels escaped."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import svg
from profiles.charts import COLOURS, Labelled, breakdown, step_times, waterfall
from profiles.classify import Category
from profiles.diff import diff
from profiles.errors import ProfileError
from profiles.summary import Summary
from tests.profiles.summaries import summary

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


@pytest.mark.slow
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


# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
VISIONS = {
    "all colours": np.eye(3),
    "no red": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "no green": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "no blue": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}


def lab(colour: str, vision: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as seen with this vision."""
    channels = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(vision @ linear, 0, 1) / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISIONS)
def test_colour_blind_readers_tell_all_categories_apart(vision: str) -> None:
    """A difference of 2.3 is just noticeable side by side; these are told apart by a legend, so it has to be several times that."""
    seen = {category: lab(colour, VISIONS[vision]) for category, colour in COLOURS.items()}
    distances = {(one, other): float(np.linalg.norm(seen[one] - seen[other])) for one, other in combinations(seen, 2)}
    assert min(distances.values()) > 15, min(distances, key=lambda pair: distances[pair])


def fits(root: ElementTree.Element) -> None:
    """Every text ends inside the picture, by a generous mean width of its characters."""
    for label in root.iter(f"{SVG}text"):
        x, size, words = float(label.attrib["x"]), float(label.attrib["font-size"]), label.text or ""
        length = len(words) * size * (0.57 if "font-weight" in label.attrib else 0.52)
        before = {"start": 0.0, "middle": 0.5, "end": 1.0}[label.attrib["text-anchor"]]
        assert x - before * length >= 0 and x + (1 - before) * length <= float(root.attrib["width"]), words


LONG = ("a-study-with-a-long-name:12 default p128 b1024", "a-study-with-a-long-name:13 page_aligned p128 b1024")


def test_long_names_and_many_caveats_stay_inside_the_picture(pair: tuple[Summary, Summary]) -> None:
    found = diff([pair[0]], [pair[1]])
    caveats = [f"number {index}: " + "a caveat that goes on and on " * 6 for index in range(5)]
    root = ElementTree.fromstring(waterfall(replace(found, caveats=tuple(caveats)), LONG))
    fits(root)
    lines = [text.text for text in root.iter(f"{SVG}text") if (text.text or "").startswith("Not like with like")]
    assert len(lines) == 3 and (lines[-1] or "").endswith("(and 2 more)")
    fits(ElementTree.fromstring(breakdown([Labelled(label, each) for label, each in zip(LONG, pair, strict=True)])))
    fits(ElementTree.fromstring(step_times([Labelled(label, each) for label, each in zip(LONG * 3, pair * 3, strict=True)])))


def test_legends_of_many_arms_do_not_overlap(pair: tuple[Summary, Summary]) -> None:
    root = ElementTree.fromstring(step_times([Labelled(f"{label} {index}", pair[0]) for index, label in enumerate(LONG * 3)]))
    names = [text for text in root.iter(f"{SVG}text") if (text.text or "").startswith("a-study")]
    assert len(names) == 6
    for one, other in combinations(names, 2):
        if one.attrib["y"] == other.attrib["y"]:
            assert abs(float(one.attrib["x"]) - float(other.attrib["x"])) > 6.3 * len(one.text or "")


def test_a_narrow_distribution_is_not_drawn_from_zero(pair: tuple[Summary, Summary]) -> None:
    assert "axis from" in step_times([Labelled("default", pair[0])])


def test_fractions_stand_in_the_bars_that_have_room(pair: tuple[Summary, Summary]) -> None:
    root = ElementTree.fromstring(breakdown([Labelled("default", pair[0])]))
    shown = {text.text for text in root.iter(f"{SVG}text") if (text.text or "").endswith("%")}
    fraction = pair[0].phases["all"]["share"]
    assert f"{fraction['mlp']:.0%}" in shown and f"{fraction['norm']:.0%}" not in shown


def test_a_trials_name_is_not_cut_off(pair: tuple[Summary, Summary]) -> None:
    label = "a-study:12 page_aligned p128 b1024"
    root = ElementTree.fromstring(breakdown([Labelled(label, pair[0])], ("prefill",)))
    (name,) = [text for text in root.iter(f"{SVG}text") if (text.text or "").startswith(label)]
    assert name.attrib["text-anchor"] == "end"
    assert float(name.attrib["x"]) >= 6 * len(name.text or "")
    inside_the_frame(root)
