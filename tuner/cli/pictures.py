"""Writing pictures: SVG as it is, PNG through vl-convert."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import click

from tuner.core.errors import BadInput

_SCALE = 2.0  # PNG pixels for each SVG unit

svg_option = click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the picture, too.")
png_option = click.option("--png", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The same as PNG.")


def write_pictures(svg: Path | None, png: Path | None, draw: Callable[[], str]) -> None:
    """Draws once if any file is asked for. Raises BadInput where one cannot be written or PNG cannot be made here."""
    if svg is None and png is None:
        return
    picture = draw()
    if svg is not None:
        _write(svg, "--svg", picture.encode())
    if png is not None:
        if importlib.util.find_spec("vl_convert") is None:
            raise BadInput("--png needs vl-convert-python; install vllm-tpu-tuner[ui] or use --svg")
        import vl_convert

        _write(png, "--png", vl_convert.svg_to_png(picture, scale=_SCALE))


def _write(target: Path, option: str, content: bytes) -> None:
    try:
        target.write_bytes(content)
    except OSError as error:
        raise BadInput(f"{option} {target}: cannot be written ({error.strerror}); choose another file") from error
