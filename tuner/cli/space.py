"""`tuner space`: what a search would vary, and how many configurations that makes; no engine is started and nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tuner.cli.options import examples, json_option, print_json
from tuner.cli.search_options import SectionedCommand, with_settings

EXAMPLES = examples(
    "tuner space study.yaml",
    "tuner space --model tiny-qwen3 --page-sizes 16,32 --workload demo --factor 'max_num_seqs=8..32:log when page_size<=16'",
    "tuner space study.yaml --factor enable_prefix_caching=true,false --json",
)
MOST_EXCLUDED = 20  # lines
_MEMORY = {"grows": "more needs more memory", "pages": "size of a KV page", "none": "no memory", "unknown": "not known"}


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("config", required=False, type=click.Path(path_type=Path), metavar="[CONFIG.yaml]")
@with_settings
@json_option
def space(*, config: Path | None, as_json: bool, **options: Any) -> None:
    """Print what a search would vary: each factor with its levels, its kind, its condition, vLLM's default and its effect on memory.

    A live factor changes inside a running engine, a cold one needs an engine for each level. Then the number of configurations: of all
    combinations, after conditions, and after what is known to fail before an engine is started. Takes what `tuner search` takes.
    """
    from tuner.cli.progress_view import say
    from tuner.search.running import space_of
    from tuner.setup.config_file import load_config
    from tuner.setup.factor_list import space_json

    given = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items() if value not in (None, ())}
    setup = space_of(load_config(config, given, unnamed="space"))
    for warning in setup.warnings:
        say(f"warning: {warning}")
    found = space_json(setup)
    if as_json:
        print_json(found)
        return
    for factor in found["factors"]:
        print(f"{factor_line(factor)}; memory: {_MEMORY[factor['memory']]}")
    _print_counts(found)


def factor_line(factor: Mapping[str, Any]) -> str:
    """One factor of tuner.setup.factor_list, without its effect on memory."""
    from tuner.core.factors import level_text, shortened

    own = "not known" if factor["default"] is None else level_text(factor["default"])
    condition = f" when {factor['when']}, else {level_text(factor['inactive'])}" if "when" in factor else ""
    return f"factor {factor['factor']} ({factor['kind']}): {shortened(factor['levels'])}{condition}; vLLM's default: {own}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _print_counts(found: Mapping[str, Any]) -> None:
    counts = found["configurations"]
    print(f"compares {found['compare']}, in {_number(found['cells'], 'cell')} and {_number(found['engines'], 'engine')}")
    print(f"{counts['combinations']:,} combinations of all levels")
    print(f"{counts['after_conditions']:,} configurations after conditions")
    print(f"{counts['searched']:,} that the scheduler can run (a page within the budget, requests at once within the budget)")
    print(f"{counts['feasible']:,} in engines that nothing known before a start excludes")
    for item in found["excluded"][:MOST_EXCLUDED]:
        print(f"  without {item['engine']} ({item['configurations']:,} configurations): {item['reason']}")
    if len(found["excluded"]) > MOST_EXCLUDED:
        print(f"  and {_number(len(found['excluded']) - MOST_EXCLUDED, 'engine')} more")
