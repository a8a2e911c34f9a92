"""The pictures of a study, each an SVG of its own: no script draws them, and the page does not wait for them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from profiles import svg
from service.answers.deps import StorageDep
from service.pages.charts.cost import cost
from service.pages.charts.goodput import goodput
from service.pages.charts.history import history
from service.pages.charts.parallel import parallel
from service.pages.charts.tradeoff import tradeoff
from service.pages.edge_view import EdgeCurve, edge_curve
from service.pages.facts import StudyFacts
from service.pages.parallel_view import parallel_of
from service.pages.parts import FactsDep, LookDep, PageRoute, RendererDep, svg_response
from service.pages.profile_pictures import picture_of
from service.pages.slo_view import slos_of
from service.pages.study_view import cost_parts, heat_cells, history_of
from service.pages.tradeoff_view import TradeOff, trade_off
from storage.base import NotFound, Storage
from tuner.capacity.loads import kind_of_metrics
from tuner.metrics.catalog import Direction, metric_info
from tuner.metrics.objective import Objective
from tuner.report.charts.effect_plot import effect_plot
from tuner.report.charts.forest import forest
from tuner.report.charts.heat_map import heat_map
from tuner.report.charts.render import described
from tuner.report.charts.theme import Look
from tuner.report.effects import EffectRow, effects_of
from tuner.verdict.conclude import default_settings, study_objectives
from tuner.verdict.main_effects import MainEffect, main_effects

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Chart(StrEnum):
    HEAT_MAP = "heat-map"
    FOREST = "forest"
    HISTORY = "history"
    TRADE_OFF = "trade-off"
    COST = "cost"
    PARALLEL = "parallel"
    GOODPUT = "goodput"
    EFFECTS = "effects"


@router.get("/studies/{name}/charts/{chart}.svg")
def chart(
    *,
    request: Request,
    storage: StorageDep,
    facts: FactsDep,
    renderer: RendererDep,
    look: LookDep,
    name: str,
    chart: Chart,
    metric: str = "",
) -> Response:
    """`metric` chooses the forest's; it is the objective's without."""
    found = facts.read(storage, name)
    objective = study_objectives(found.study)[0]
    if chart is Chart.TRADE_OFF and not _has_trade_off(storage, found):
        return svg_response(request, picture_of(_EMPTY, look.scheme))
    title, spec = _drawn(storage, found, objective, chart, metric or objective.metric, look)
    return svg_response(request, renderer.picture(spec, f"{title}, study {name}", "The table below the picture holds its numbers."))


def _drawn(storage: Storage, facts: StudyFacts, objective: Objective, chart: Chart, metric: str, look: Look) -> tuple[str, dict[str, Any]]:
    """(title, specification). Raises NotFound where there is nothing to draw."""
    info = metric_info(objective.metric)
    less = info.direction is Direction.MINIMIZE
    match chart:
        case Chart.HEAT_MAP:
            cells = _some(heat_cells(facts.trials, objective, facts.place, facts.margins))
            drawn = heat_map(cells, info.unit, less, look, address=lambda cell: f"/trials/{cell.trial_id}")
            return f"{objective.metric} by page size and chunk budget", drawn
        case Chart.FOREST:
            effects = effects_of(facts.comparisons, metric)
            best = facts.compared_place
            drawn = forest(
                _some(effects.forest(best)), metric, effects.less_is_better, look, best, address=_of_both_trials, compared=effects.title
            )
            what = "page alignment" if effects.contrast.of_arms else effects.title
            return f"Effect of {what} on {metric}", drawn
        case Chart.HISTORY:
            return f"Best {objective.metric} so far", history(_some(history_of(facts.trials, objective)), info.unit, look)
        case Chart.COST:
            return "Where the wall time went", cost(_some(cost_parts(facts.study)), look)
        case Chart.PARALLEL:
            lines = parallel_of(facts.trials, objective, facts.place)
            if lines is None:
                raise NotFound(_NOTHING)
            return f"{objective.metric} by every setting", parallel(lines, objective.metric, info.unit, less, look)
        case Chart.EFFECTS:
            by_setting = _some(read_main_effects(facts, objective))
            return f"Average effects on {objective.metric}", effect_plot(by_setting, objective.metric, less, look)
        case Chart.GOODPUT:
            curve = read_edge_curve(storage, facts)
            if curve is None:
                raise NotFound(_NOTHING)
            return f"Goodput by {curve.kind.noun}, recommended configuration", goodput(curve.points, curve, look, curve.kind)
        case Chart.TRADE_OFF:
            found = read_trade_off(storage, facts)
            if found is None:
                raise NotFound(_NOTHING)
            return f"{found.y_metric} against {found.x_metric}", tradeoff(found, look)


def read_main_effects(facts: StudyFacts, objective: Objective) -> list[MainEffect]:
    return main_effects(facts.study, facts.trials, objective, default_settings(facts.study))


def read_edge_curve(storage: Storage, facts: StudyFacts) -> EdgeCurve | None:
    """Of the recommended configuration, in a study whose objective is the highest load; reads its windows only."""
    trial, kind = facts.winner, kind_of_metrics(objective.metric for objective in study_objectives(facts.study))
    if trial is None or kind is None:
        return None
    return edge_curve(storage.list_measurements(trial_id=trial.id), facts.answer, kind)


def read_trade_off(storage: Storage, facts: StudyFacts) -> TradeOff | None:
    """Reads every window of the study."""
    measurements = storage.list_measurements(study_id=facts.study.id)
    return trade_off(facts.trials, measurements, study_objectives(facts.study), facts.place, slos_of(facts.study))


def _has_trade_off(storage: Storage, facts: StudyFacts) -> bool:
    found = read_trade_off(storage, facts)
    return found is not None and bool(found.points)


def _of_both_trials(row: EffectRow) -> str:
    return f"/compare?baseline={row.baseline_id}&candidate={row.candidate_id}" if row.baseline_id and row.candidate_id else ""


_NOTHING = "there is nothing to draw yet"
_WORDS = svg.text(0, 34, "No second metric was measured.", size=13, fill=svg.MUTED)
# The page cannot know this without reading every window, so it asks for the picture anyway.
_EMPTY = described(f'<svg xmlns="http://www.w3.org/2000/svg" width="280" height="60">{_WORDS}</svg>', "Trade-off", _NOTHING)


def _some[Item](items: list[Item]) -> list[Item]:
    if not items:
        raise NotFound(_NOTHING)
    return items
