"""Profiles and their differences as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from profiles.diff import ProfileDiff, Row
    from profiles.summary import Summary

_SHOWN = 15
_LABEL = 68


def print_summary(summary: Summary, scopes: int = 0) -> None:
    """`scopes`: how many of the largest scopes to list."""
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
            print("  " + f"{category:<20}" + "".join(f"{value:>9.3f} ms {fraction:>7.1%}" for value, fraction in cells))
    _print_rates(summary)
    if scopes and summary.phases:
        _print_scopes(summary, scopes)


def _print_rates(summary: Summary) -> None:
    """Utilisation of the last phase, which is the profiled one where there is one; nothing on XLA:CPU, which gives no costs."""
    phase = list(summary.phases)[-1]
    rates = summary.phases[phase].get("rates", {})
    if rates:
        print(f"  {phase}: work by XLA's estimates over the time taken, and its fraction of the device's peak:")
    for category, each in rates.items():
        peak = [f"({each[name]:.1%})" if each[name] is not None else "" for name in ("of_peak_flops", "of_peak_hbm")]
        print(f"  {category:<20}{each['tflops_per_s']:>9.2f} TFLOP/s {peak[0]:>8}{each['hbm_gb_per_s']:>9.1f} GB/s HBM {peak[1]:>8}")


def _print_scopes(summary: Summary, most: int) -> None:
    """The scopes that take most time, over all whole steps."""
    mask = [index for index, used in enumerate(summary.mask("all").tolist()) if used]
    means = [(sum(scope["ms"][index] for index in mask) / len(mask), scope) for scope in summary.scopes]
    step_ms = summary.phases["all"]["step_ms"]["mean"]
    for mean, scope in sorted(means, key=lambda pair: -pair[0])[:most]:
        print(f"  {mean:>9.3f} ms {mean / step_ms:>7.1%}  {scope['scope']} ({scope['category']})")


def print_diff(found: ProfileDiff) -> None:
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
    if explained.measured_ms is not None:
        bounds = ""
        if explained.measured_low_ms is not None and explained.measured_high_ms is not None:
            bounds = f" [{explained.measured_low_ms:+.3f}, {explained.measured_high_ms:+.3f}]"
        if explained.share is not None:
            fraction = f"{explained.share:.0%} [{explained.share_low:.0%}, {explained.share_high:.0%}]"
            print(f"  the profile shows {fraction} of the measured difference, {explained.measured_ms:+.3f} ms{bounds}")
        else:
            print(f"  the measured difference, {explained.measured_ms:+.3f} ms{bounds}, may be chance: there is nothing to explain")
    if 1 in found.captures:
        print(
            "  one profile session on a side: the intervals leave out how sessions of one setting differ (tuner profile capture --repeat)"
        )


def _print_rows(rows: Sequence[tuple[str, Row]]) -> None:
    for label, row in rows:
        mark = "*" if row.changed else " "
        numbers = f"{row.baseline_ms:>11.3f}{row.candidate_ms:>11.3f}{row.difference_ms:>+12.3f}  [{row.low_ms:+.3f}, {row.high_ms:+.3f}]"
        print(f"{mark} {label[-_LABEL:]:<{_LABEL}}{numbers}")
