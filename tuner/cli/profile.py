"""`tuner profile`: what a capture says, and why one is faster than another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.options import examples, json_option, print_json
from tuner.errors import BadInput

if TYPE_CHECKING:
    from profiles.diff import ProfileDiff, Row
    from profiles.summary import Summary

_PHASES = ("all", "prefill", "decode", "mixed")
_SHOWN = 15
_LABEL = 68

svg_option = click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the picture, too.")
source_argument = click.Path(path_type=Path)


@click.group(
    epilog=examples(
        "tuner profile show tuner-profiles/my-run", "tuner profile diff default.xplane.pb page_aligned.xplane.pb --phase prefill"
    )
)
def profile() -> None:
    """Read XLA profiles: where step time goes, and what differs between two of them."""


@profile.command(
    epilog=examples("tuner profile show host.xplane.pb", "tuner profile show tuner-profiles/my-run --svg breakdown.svg --json")
)
@click.argument("capture", type=source_argument)
@svg_option
@json_option
def show(capture: Path, svg: Path | None, as_json: bool) -> None:
    """Where the step time of CAPTURE goes. CAPTURE is an .xplane.pb file or a session's folder."""
    from profiles.charts import Labelled, breakdown

    with _readable():
        found = _summaries(capture)
        if svg is not None:
            bars = [Labelled(summary.capture["file"].removesuffix(".xplane.pb"), summary) for summary in found]
            _write(svg, breakdown(bars, _PHASES))
    if as_json:
        print_json({"profiles": [summary.to_json() for summary in found]})
        return
    for summary in found:
        _print_summary(summary)


@profile.command(
    epilog=examples("tuner profile diff runs/default runs/page_aligned", "tuner profile diff a.xplane.pb b.xplane.pb --svg why.svg")
)
@click.argument("baseline", type=source_argument)
@click.argument("candidate", type=source_argument)
@click.option("--phase", type=click.Choice(_PHASES), default="all", show_default=True, help="Steps to compare.")
@click.option(
    "--measured-ms", type=(float, float), metavar="BASE CAND", help="Mean step times measured without a profile, to be explained."
)
@click.option("--allow-different", is_flag=True, help="Compare also where page size or device differ, and say so.")
@svg_option
@json_option
def diff(
    baseline: Path,
    candidate: Path,
    phase: str,
    measured_ms: tuple[float, float] | None,
    allow_different: bool,
    svg: Path | None,
    as_json: bool,
) -> None:
    """Why CANDIDATE's steps take longer or shorter than BASELINE's. Both are .xplane.pb files or sessions' folders."""
    from profiles.charts import waterfall
    from profiles.diff import diff as compare

    with _readable():
        sides = [_summaries(baseline), _summaries(candidate)]
        found = compare(*sides, phase=phase, measured_step_ms=measured_ms, allow_different=allow_different)
        if svg is not None:
            _write(svg, waterfall(found))
    if as_json:
        print_json(found.to_json())
    else:
        _print_diff(found)


@contextmanager
def _readable() -> Iterator[None]:
    """Turns what is wrong with a profile into bad input."""
    from profiles.errors import ProfileError

    try:
        yield
    except ProfileError as error:
        raise BadInput(str(error)) from error


def _summaries(path: Path) -> list[Summary]:
    from profiles.links import captures_at
    from profiles.summary import load_or_summarise

    return [load_or_summarise(capture) for capture in captures_at(path)]


def _write(target: Path, picture: str) -> None:
    try:
        target.write_text(picture)
    except OSError as error:
        raise BadInput(f"--svg {target}: cannot be written ({error.strerror}); choose another file") from error


def _print_summary(summary: Summary) -> None:
    about, quality = summary.capture, summary.quality
    devices = f"{about['devices']} x {about['device_type']}" if about["devices"] > 1 else about["device_type"]
    print(
        f"{about['file']}: {summary.program} on {devices}, {quality['steps']} steps ({about['clock']} clock, rules {summary.rules_version})"
    )
    if quality["problems"]:
        print(f"  doubtful: {', '.join(quality['problems'])}")
    for note in summary.notes:
        print(f"  note: {note}")
    phases = list(summary.phases)
    print("  " + " " * 20 + "".join(f"{phase:>20}" for phase in phases))
    print("  " + f"{'steps':<20}" + "".join(f"{summary.phases[phase]['steps']:>20}" for phase in phases))
    print("  " + f"{'step':<20}" + "".join(f"{summary.phases[phase]['step_ms']['mean']:>17.3f} ms" for phase in phases))
    for category in summary.categories_ms:
        cells = [(summary.phases[phase]["categories_ms"][category], summary.phases[phase]["share"][category]) for phase in phases]
        if any(value for value, _ in cells):
            print("  " + f"{category:<20}" + "".join(f"{value:>9.3f} ms {share:>7.1%}" for value, share in cells))


def _print_diff(found: ProfileDiff) -> None:
    step, explained = found.step, found.explained
    print(f"phase {found.phase}: {found.baseline_steps} against {found.candidate_steps} steps")
    for caveat in found.caveats:
        print(f"  not like with like: {caveat}")
    print(f"  {'':<{_LABEL}}{'baseline':>11}{'candidate':>11}{'difference':>12}  95 % interval")
    _print_rows([("step", step)])
    _print_rows([(row.category, row) for row in found.categories if row.baseline_ms or row.candidate_ms])
    changed = [row for row in found.scopes if row.changed][:_SHOWN]
    if changed:
        print("  scopes that changed:")
        _print_rows([(f"{row.scope} ({row.category})", row) for row in changed])
    print(
        f"  of {explained.profiled_ms:+.3f} ms a step: named categories {explained.named_ms:+.3f}, gaps {explained.gaps_ms:+.3f}, "
        f"unattributed {explained.unattributed_ms:+.3f}"
    )
    if explained.share is not None:
        print(
            f"  the profile shows {explained.share:.0%} [{explained.share_low:.0%}, {explained.share_high:.0%}] of the measured difference"
        )


def _print_rows(rows: Sequence[tuple[str, Row]]) -> None:
    for label, row in rows:
        mark = "*" if row.changed else " "
        numbers = f"{row.baseline_ms:>11.3f}{row.candidate_ms:>11.3f}{row.difference_ms:>+12.3f}  [{row.low_ms:+.3f}, {row.high_ms:+.3f}]"
        print(f"{mark} {label[-_LABEL:]:<{_LABEL}}{numbers}")
