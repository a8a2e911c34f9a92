"""What a study asks, in the words of its report: of page alignment, or of the factor that it compares. Pure."""

from __future__ import annotations

from tuner.core.contrast import Contrast

_SCOPE = "This report answers it for the model, workload, settings and machine below, and no further."
_WIDENED = "Student's t on the log-ratios, widened together over the cells (false coverage rate 5 %)"


def report_title(contrast: Contrast, study: str) -> str:
    return f"{'Page-aligned scheduling' if contrast.of_arms else contrast.noun}: study {study}"


def question_text(contrast: Contrast) -> str:
    if contrast.of_arms:
        return f"Can page-aligned prefill scheduling (vLLM pull request 19878) just be turned on by default? {_SCOPE}"
    return f"Is {contrast.words()} better? Each other level is compared with it in pairs, in every cell of all other settings. {_SCOPE}"


def short_question(contrast: Contrast) -> str:
    """Over a page."""
    return "Can page-aligned scheduling be on by default?" if contrast.of_arms else f"Is {contrast.words()} better?"


def cell_headers(contrast: Contrast) -> tuple[str, ...]:
    ratio = "aligned / default" if contrast.of_arms else f"ratio to {contrast.baseline_words}"
    return "page size", "chunk budget", ratio, "95 % interval", "pairs", "verdict"


def nothing_text(contrast: Contrast) -> str:
    missing = "in both arms" if contrast.of_arms else f"with {contrast.baseline_words} and another level"
    return f"undecided: no cell was measured {missing}"


def effect_text(contrast: Contrast) -> str:
    """How an effect and its interval come about."""
    if contrast.of_arms:
        return f"The effect is the geometric mean of page_aligned / default over rounds; intervals are {_WIDENED}."
    over = "pairs of engine starts" if contrast.cold else "rounds"
    return f"The effect is the geometric mean of a level / {contrast.baseline_words} over {over}; intervals are {_WIDENED}."


def pair_text(contrast: Contrast, many: str, starts: int) -> str:
    """How the windows were made, where one engine measures all live settings. `many`: windows of a configuration, in words; `starts`: of
    each engine of a cold comparison."""
    if contrast.cold:
        return (
            f"Each level of {contrast.noun} had engines of its own, started in turn (A B B A ...): {starts} starts of each ({many}). "
            "A pair is two starts one right after the other; all windows of a start are one value."
        )
    if contrast.of_arms:
        settings, pair = "both arms", "the same round in both arms"
    else:
        settings, pair = f"all levels of {contrast.noun}", "the same round in two levels"
    return (
        f"One engine per page size; all chunk budgets and {settings} are live settings of that engine, measured in randomised "
        f"interleaved rounds ({many}). A pair is {pair}, one right after the other, in the same running engine."
    )
