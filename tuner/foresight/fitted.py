"""Step times that were fitted on measured tables: chip -> its curves. Printed by `python -m bench.step_time --write`; a test fits them anew
where the table is at hand. Pure.

The table is casys-kaist/LLMServingSim's (MIT), Llama-3.1-8B on one TPU v6e.
"""

from __future__ import annotations

from tuner.core.errors import BadInput
from tuner.foresight.curve import Curve
from tuner.foresight.step_time import Band, Fitted, StepTimes
from tuner.setup.hardware import named_limits

V6E = StepTimes(
    chip="TPU v6e",
    source="Llama-3.1-8B on one v6e (casys-kaist/LLMServingSim@5daddb21)",
    kinds={
        "input_layernorm": (
            (4096,),
            Fitted(
                curve=Curve(form="linear", weights=(5.162e-07, 2.014e-13)), band=Band(low=0.7739, high=1.723), held_out="ranges of tokens"
            ),
        ),
        "rope": (
            (5120,),
            Fitted(
                curve=Curve(form="linear", weights=(6.06e-08, 1.02e-13)), band=Band(low=0.5037, high=2.803), held_out="ranges of tokens"
            ),
        ),
        "embedding": (
            (4096,),
            Fitted(
                curve=Curve(form="linear", weights=(2.249e-06, 1.552e-08)), band=Band(low=0.4886, high=2.481), held_out="ranges of tokens"
            ),
        ),
        "q_proj": (
            (4096, 4096),
            Fitted(
                curve=Curve(form="roofline", weights=(1.02e-05, 958800000000000.0, 2655000000000.0, 1.102)),
                band=Band(low=0.7633, high=2.029),
                held_out="ranges of tokens",
            ),
        ),
        "o_proj": (
            (4096, 4096),
            Fitted(
                curve=Curve(form="roofline", weights=(1e-09, 640900000000000.0, 4896000000000.0, 3.878)),
                band=Band(low=0.7474, high=1.328),
                held_out="ranges of tokens",
            ),
        ),
        "post_layernorm": (
            (4096,),
            Fitted(
                curve=Curve(form="linear", weights=(5.606e-07, 1.537e-16)), band=Band(low=0.9749, high=1.073), held_out="ranges of tokens"
            ),
        ),
        "gate_proj": (
            (4096, 14336),
            Fitted(
                curve=Curve(form="roofline", weights=(1e-09, 779600000000000.0, 1508000000000.0, 9.743)),
                band=Band(low=0.9359, high=1.293),
                held_out="ranges of tokens",
            ),
        ),
        "down_proj": (
            (14336, 4096),
            Fitted(
                curve=Curve(form="roofline", weights=(1e-09, 667300000000000.0, 1141000000000.0, 20.0)),
                band=Band(low=0.5634, high=1.692),
                held_out="ranges of tokens",
            ),
        ),
        "final_layernorm": (
            (4096,),
            Fitted(
                curve=Curve(form="linear", weights=(9.83e-07, 2.079e-15)), band=Band(low=0.5576, high=1.451), held_out="ranges of tokens"
            ),
        ),
        "lm_head": (
            (4096, 128256),
            Fitted(
                curve=Curve(form="roofline", weights=(1e-09, 736500000000000.0, 1459000000000.0, 6.395)),
                band=Band(low=0.8635, high=1.34),
                held_out="ranges of tokens",
            ),
        ),
        "up_proj": (
            (4096, 14336),
            Fitted(
                curve=Curve(form="roofline", weights=(3.317e-06, 802500000000000.0, 1506000000000.0, 12.88)),
                band=Band(low=0.9331, high=1.187),
                held_out="ranges of tokens",
            ),
        ),
        "prefill_attention": (
            (32, 8, 128),
            Fitted(
                curve=Curve(form="linear", weights=(3.119e-06, 9.212e-08, 4.546e-09, 2.968e-10, 1.013e-10)),
                band=Band(low=0.8627, high=1.107),
                held_out="ranges of tokens",
            ),
        ),
        "decode_attention": (
            (32, 8, 128),
            Fitted(
                curve=Curve(form="linear", weights=(5.854e-06, 2.33e-06, 8.581e-09)),
                band=Band(low=0.8549, high=1.356),
                held_out="ranges of tokens",
            ),
        ),
    },
    families={
        "elementwise": Fitted(
            curve=Curve(form="linear", weights=(5.141e-07, 1.106e-14)), band=Band(low=0.3254, high=11.51), held_out="kinds of operations"
        ),
        "gather": Fitted(
            curve=Curve(form="linear", weights=(2.249e-06, 1.552e-08)), band=Band(low=0.4886, high=2.481), held_out="ranges of tokens"
        ),
        "matmul": Fitted(
            curve=Curve(form="roofline", weights=(4.483e-06, 729100000000000.0, 1574000000000.0, 12.35)),
            band=Band(low=0.2598, high=1.975),
            held_out="kinds of operations",
        ),
        "prefill_attention": Fitted(
            curve=Curve(form="linear", weights=(3.119e-06, 9.212e-08, 4.546e-09, 2.968e-10, 1.013e-10)),
            band=Band(low=0.8627, high=1.107),
            held_out="ranges of tokens",
        ),
        "decode_attention": Fitted(
            curve=Curve(form="linear", weights=(5.854e-06, 2.33e-06, 8.581e-09)),
            band=Band(low=0.8549, high=1.356),
            held_out="ranges of tokens",
        ),
    },
)

FITTED = {found.chip: found for found in (V6E,)}


def step_times_for(chip: str, borrow: str | None = None) -> StepTimes:
    """`chip`: tuner.setup.hardware.Limits.name. `borrow`: any spelling of another chip, whose times are taken as they are.

    Raises BadInput for a chip without data, rather than taking another's, and where there is none to borrow from either.
    """
    asked = chip
    if borrow is not None:
        limits = named_limits(borrow, "borrow")
        asked = borrow if limits is None else limits.name
    if asked not in FITTED:
        have = ", ".join(FITTED)
        setting, value = ("accelerator", chip) if borrow is None else ("borrow", borrow)
        fix = f"give the costs yourself with --step-time FILE, or --borrow {_short(next(iter(FITTED)))}, and every number says so"
        raise BadInput(f"has no prediction: step times are known of {have} only", setting=setting, value=value, fix=fix)
    return FITTED[asked]


def _short(chip: str) -> str:
    return chip.removeprefix("TPU ")
