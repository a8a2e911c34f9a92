"""Reading tables of measured configurations. Everything that cannot be read is BadInput naming the file, the line and the column."""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from storage.renamed import current_metric
from tuner.core.errors import BadInput, FailureClass
from tuner.core.yaml_file import parse_json
from tuner.launchers.measured_table import MeasuredTable, TablePoint, Value, describe
from tuner.launchers.table_dialects import NumberedLine, in_our_words
from tuner.metrics.catalog import CATALOG, Direction, metric_info

_HUB = (".json", ".json.gz")  # ends of the names of benchmark_hub's files
TIME = "e2el_mean_ms"  # milliseconds, and less is better
COST_COLUMNS = ("start_s", "measure_s", "wait_s")
ERROR_CLASS = "error_class"
ERROR_MESSAGE = "error_message"

# Kernel Tuner's words for a configuration that gave no time.
_KERNEL_TUNER_FAILURES = {
    "InvalidConfig": FailureClass.INVALID_CONFIG,
    "CompilationFailedConfig": FailureClass.COMPILE_ERROR,
    "RuntimeFailedConfig": FailureClass.ENGINE_CRASH,
}


@dataclass
class _Row:
    """What was found for one configuration so far; repeated lines add samples."""

    params: dict[str, Value]
    samples: dict[str, list[float]] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    failure: FailureClass | None = None
    message: str = ""


def load_table(path: Path) -> MeasuredTable:
    """A .csv, or benchmark_hub's .json or .json.gz. Raises BadInput."""
    if path.name.endswith(_HUB):
        return read_benchmark_hub(path)
    return read_csv(path)


def load_for_search(path: Path) -> MeasuredTable:
    """The same for a study, whose metrics are those of the catalogue: the time of benchmark_hub's files goes by TIME. Raises BadInput."""
    table = load_table(path)
    if not path.name.endswith(_HUB):
        return table
    (metric,) = table.directions
    rows = tuple(replace(row, samples={TIME: row.samples[metric]} if row.samples else {}) for row in table.configurations)
    return MeasuredTable(table.name, table.parameters, {TIME: Direction.MINIMIZE}, rows)


def read_csv(path: Path) -> MeasuredTable:
    """A CSV with a header.

    A column that ends in + or - is a metric to be maximised or minimised (timm/moot's convention), as is one named like a metric of the
    catalogue. The sign is dropped, but where another column has the name without it: beside a parameter `A`, `A-` is the metric "A-".
    `error_class` marks a configuration that fails, with any `error_message`; its metrics may be empty. `start_s` and `measure_s` are what
    a trial costs (default 0 and 1 s), `wait_s` is how long a window really lasts (default 0). Every other column is a parameter. Lines with
    equal parameters are repeated measurements of one configuration. What others write is understood too: tuner.launchers.table_dialects.
    """
    header, lines = in_our_words(*_cells(path))
    directions = _metric_columns(header)
    reserved = {*COST_COLUMNS, ERROR_CLASS, ERROR_MESSAGE}
    parameters = tuple(name for name in header if name not in reserved and name not in directions)
    names = _metric_names(header, directions)
    every_name = [*parameters, *names.values(), *(name for name in header if name in reserved)]
    if len(set(every_name)) < len(header) or "" in every_name or not parameters or not directions:
        raise BadInput(
            f"table {path}: the header needs distinct names, at least one parameter and at least one metric "
            "(a name ending in + or -, or a metric such as total_token_throughput)"
        )
    rows: dict[tuple[Value, ...], _Row] = {}
    for number, line in lines:
        _add_line(rows, parameters, names, dict(zip(header, line, strict=True)), f"table {path}:{number}")
    if not rows:
        raise BadInput(f"table {path} has a header and no line; add one line per configuration")
    return MeasuredTable(
        path.name,
        parameters,
        {names[column]: direction for column, direction in directions.items()},
        tuple(_configuration(row, names) for row in rows.values()),
    )


def read_benchmark_hub(path: Path) -> MeasuredTable:
    """Kernel Tuner's brute-force cache (AutoTuningAssociation/benchmark_hub): repeated times (ms), compile time as start cost, failures."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        data = parse_json(raw)
        metric, parameters = str(data["objective"]), tuple(data["tune_params_keys"])
        configurations = tuple(_hub_configuration(entry, parameters, metric) for entry in data["cache"].values())
        return MeasuredTable(path.name, parameters, {metric: Direction.MINIMIZE}, configurations)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise BadInput(f"table {path} is not a benchmark_hub cache file: {reason}") from error


def _cells(path: Path) -> tuple[list[str], list[NumberedLine]]:
    """The header and the lines that are not empty, as long as it. Separated by commas; by semicolons or tabs where the header has those
    instead, as spreadsheets write them. Raises BadInput."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        separator = next((mark for mark in ",;\t" if mark in first), ",")
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"table {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    header = [name.strip() for name in lines[0]] if lines else []
    numbered = [(number, [cell.strip() for cell in line]) for number, line in enumerate(lines[1:], start=2) if line]
    for number, line in numbered:
        if len(line) != len(header):
            raise BadInput(f"table {path}:{number}: {len(line)} cells, the header has {len(header)}")
    return header, numbered


def _metric_columns(header: list[str]) -> dict[str, Direction]:
    """Column as it stands in the file -> direction."""
    directions = {}
    for column in header:
        if column.endswith("+"):
            directions[column] = Direction.MAXIMIZE
        elif column.endswith("-"):
            directions[column] = Direction.MINIMIZE
        elif current_metric(column) in CATALOG:
            directions[column] = metric_info(column).direction
    return directions


def _metric_names(header: list[str], directions: Mapping[str, Direction]) -> dict[str, str]:
    """Column -> name of its metric."""
    plain = {column: current_metric(column.rstrip("+-")) for column in directions}
    taken = Counter([*plain.values(), *(name for name in header if name not in directions)])
    return {column: name if taken[name] == 1 else column for column, name in plain.items()}


def _add_line(
    rows: dict[tuple[Value, ...], _Row], parameters: tuple[str, ...], metrics: Mapping[str, str], cells: Mapping[str, str], where: str
) -> None:
    """`metrics`: column -> name of the metric."""
    params = {name: _value(cells[name]) for name in parameters}
    key = tuple(params.values())
    new = key not in rows
    row = rows.setdefault(key, _Row(params))
    failure = _failure(cells.get(ERROR_CLASS, ""), where)
    if not new and (failure or row.failure):
        raise BadInput(f"{where}: {describe(params)} is there twice and fails; keep one line for it")
    row.failure, row.message = failure, cells.get(ERROR_MESSAGE, "")
    for column in COST_COLUMNS:
        if cells.get(column):
            row.costs[column] = _number(cells[column], column, where)
            if row.costs[column] < 0:
                raise BadInput(f"{where}: {column} is {cells[column]}, it must be 0 or more seconds")
    if failure is None:
        for column, metric in metrics.items():
            value = _number(cells[column], column, where)
            if metric in CATALOG and (reason := CATALOG[metric].impossible(value)):
                raise BadInput(f"{where}: {column} is {cells[column]}: {reason}; drop the column, or mark a failed one with {ERROR_CLASS}")
            row.samples.setdefault(column, []).append(value)


def _configuration(row: _Row, names: Mapping[str, str]) -> TablePoint:
    samples = {names[column]: tuple(values) for column, values in row.samples.items()}
    start_s, measure_s, wait_s = (row.costs.get(name, default) for name, default in (("start_s", 0.0), ("measure_s", 1.0), ("wait_s", 0.0)))
    return TablePoint(row.params, samples, start_s, measure_s, row.failure, row.message, wait_s=wait_s)


def _hub_configuration(entry: Mapping[str, Any], parameters: tuple[str, ...], metric: str) -> TablePoint:
    outcome = entry[metric]
    failure = _KERNEL_TUNER_FAILURES.get(outcome, FailureClass.INTERNAL) if isinstance(outcome, str) else None
    return TablePoint(
        params={name: entry[name] for name in parameters},
        samples={} if failure else {metric: tuple(float(time) for time in entry.get("times", [outcome]))},
        start_s=entry["compile_time"] / 1000,
        measure_s=(entry["verification_time"] + entry["benchmark_time"]) / 1000,
        failure=failure,
        message=outcome if failure else "",
    )


def _failure(word: str, where: str) -> FailureClass | None:
    if not word:
        return None
    try:
        return FailureClass(word)
    except ValueError:
        raise BadInput(f"{where}: {ERROR_CLASS} {word!r} is unknown; use one of {', '.join(FailureClass)}") from None


def _number(cell: str, column: str, where: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadInput(f"{where}: {column} is {cell!r}, which is not a number; mark a failed configuration with {ERROR_CLASS}")
    return number


def _value(cell: str) -> Value:
    if re.fullmatch(r"[+-]?\d{1,18}", cell, re.ASCII):
        return int(cell)
    try:
        number = float(cell)
    except ValueError:
        return cell
    return number if math.isfinite(number) else cell
