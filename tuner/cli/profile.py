"""`tuner profile`: what a profile says, why one is faster than another, and new profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.options import examples, json_option, print_json, storage_option
from tuner.cli.pictures import png_option, svg_option, write_pictures
from tuner.cli.profile_capture import capture
from tuner.cli.profile_targets import Target, readable, resolve
from tuner.core.errors import BadInput

if TYPE_CHECKING:
    from profiles.diff import ProfileDiff

_EACH = ("prefill", "decode", "mixed")
_PHASES = ("all", *_EACH)

moved_logdir_option = click.option("--logdir", metavar="DIR", help="Where the profiles of trials lie now, if the folder was moved.")


@click.group(
    epilog=examples(
        "tuner profile show tuner-profiles/my-run",
        "tuner profile diff first:3 first:4",
        "tuner profile diff default.xplane.pb page_aligned.xplane.pb --phase prefill",
        "tuner profile capture first:3",
    )
)
def profile() -> None:
    """XLA profiles: where step time goes, what differs between two of them, new profiles."""


profile.add_command(capture)


@profile.command(
    epilog=examples(
        "tuner profile show host.xplane.pb --scopes 10",
        "tuner profile show first:3 first:4 --svg breakdown.svg",
        "tuner profile show first:3 first:4 --chart step-times --phase decode --png times.png",
        "tuner profile show tuner-profiles/my-run --json",
    )
)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--chart", type=click.Choice(["breakdown", "step-times"]), default="breakdown", show_default=True, help="What to draw.")
@click.option("--phase", type=click.Choice(_PHASES), default="all", show_default=True, help="Steps of the step-times chart.")
@click.option("--scopes", type=click.IntRange(0, 100), default=0, show_default=True, help="List so many of the largest scopes.")
@svg_option
@png_option
@storage_option
@moved_logdir_option
@json_option
def show(
    *,
    targets: tuple[str, ...],
    chart: str,
    phase: str,
    scopes: int,
    svg: Path | None,
    png: Path | None,
    storage: str,
    logdir: str | None,
    as_json: bool,
) -> None:
    """Where the step time goes. A TARGET is an .xplane.pb file, a session's folder, or STUDY:TRIAL (its number)."""
    from tuner.cli.profile_view import print_summary

    with readable():
        found = [resolve(target, storage, logdir) for target in targets]
        write_pictures(svg, png, lambda: _picture(found, chart, phase))
    if as_json:
        links = [link for target in found for link in target.links]
        print_json({"profiles": [summary.to_json() for target in found for summary in target.summaries], "links": links})
        return
    for target in found:
        if target.stored:
            print(target.label)
        for summary in target.summaries:
            print_summary(summary, scopes)
        for link in target.links:
            print(f"  {link}")


def _picture(targets: list[Target], chart: str, phase: str) -> str:
    from profiles.charts import Labelled, breakdown, step_times

    bars = [Labelled(_label(target, summary.capture["file"]), summary) for target in targets for summary in target.summaries]
    if chart == "step-times":
        return step_times(bars, phase)
    alone = any(set(summary.phases) == {"all"} for target in targets for summary in target.summaries)
    return breakdown(bars, _PHASES if alone or not any(target.stored for target in targets) else _EACH)


def _label(target: Target, file: str) -> str:
    return target.label if target.stored else file.removesuffix(".xplane.pb")


@profile.command(
    epilog=examples(
        "tuner profile diff first:3 first:4",
        "tuner profile diff runs/default runs/page_aligned",
        "tuner profile diff a.xplane.pb b.xplane.pb --svg why.svg",
    )
)
@click.argument("baseline")
@click.argument("candidate")
@click.option("--phase", type=click.Choice(_PHASES), help="Steps to compare.  [default: all; of two trials, each phase that both have]")
@click.option(
    "--measured-ms", type=(float, float), metavar="BASE CAND", help="Mean step times measured without a profile, to be explained."
)
@click.option("--allow-different", is_flag=True, help="Compare also where page size or device differ, and say so.")
@svg_option
@png_option
@storage_option
@moved_logdir_option
@json_option
def diff(
    *,
    baseline: str,
    candidate: str,
    phase: str | None,
    measured_ms: tuple[float, float] | None,
    allow_different: bool,
    svg: Path | None,
    png: Path | None,
    storage: str,
    logdir: str | None,
    as_json: bool,
) -> None:
    """Why CANDIDATE's steps take longer or shorter than BASELINE's. Both are .xplane.pb files, sessions' folders or STUDY:TRIAL.

    Two trials are compared by all their good profile sessions, and the text says how much of the difference of their windows the step
    counts and the profiles account for. With --json one comparison is the document itself, several are in its list "diffs"; of two trials
    the document also has "end_to_end" and "words".
    """
    with readable():
        sides = resolve(baseline, storage, logdir, every=True), resolve(candidate, storage, logdir, every=True)
        phases = [phase] if phase is not None else _common_phases(*sides)
        found = [_diff(*sides, each, measured_ms, allow_different) for each in phases]
        if (svg or png) and len(found) > 1:
            raise BadInput(f"a picture shows one phase; add --phase {' or --phase '.join(phases)}")
        write_pictures(svg, png, lambda: _waterfall(found[0], *sides))
    _tell(found, sides, whole=phase is None, as_json=as_json)


def _tell(found: list[ProfileDiff], sides: tuple[Target, Target], whole: bool, as_json: bool) -> None:
    """Print the comparisons and, where all phases of two trials were compared, what they say about the windows."""
    from tuner.cli.profile_view import print_diff
    from tuner.report.why import end_to_end, in_words

    windows = end_to_end(sides[0].measurements, sides[1].measurements, found) if whole else None
    words = in_words(windows, found, (sides[0].label, sides[1].label)) if windows is not None else []
    if as_json:
        document = found[0].to_json() if len(found) == 1 else {"diffs": [each.to_json() for each in found]}
        print_json({**document, "end_to_end": windows.to_json(), "words": words} if windows is not None else document)
        return
    for each in found:
        print_diff(each)
    for line in words:
        print(line)


def _waterfall(found: ProfileDiff, baseline: Target, candidate: Target) -> str:
    from profiles.charts import waterfall

    if baseline.stored and candidate.stored and baseline.label != candidate.label:
        return waterfall(found, (baseline.label, candidate.label))
    return waterfall(found)


def _common_phases(baseline: Target, candidate: Target) -> list[str]:
    if not (baseline.stored and candidate.stored):
        return ["all"]
    both = [each for each in _EACH if all(any(each in item.phases for item in side.summaries) for side in (baseline, candidate))]
    return both or ["all"]


def _diff(baseline: Target, candidate: Target, phase: str, given: tuple[float, float] | None, allow_different: bool) -> ProfileDiff:
    from profiles.diff import Measured
    from profiles.diff import diff as compare
    from tuner.report.why import measured_steps

    measured = Measured(*given) if given is not None else None
    if measured is None and phase != "all":
        measured = measured_steps(baseline.measurements, candidate.measurements, phase)
    return compare(baseline.of_phase(phase), candidate.of_phase(phase), phase=phase, measured=measured, allow_different=allow_different)
