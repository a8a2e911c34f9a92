"""TensorBoard with the plugins that our pages need, behind profiles.tensorboard_guard, within limits of its own.

    python -m profiles.tensorboard_main --logdir=FOLDER --host=127.0.0.1 --port=PORT [--path_prefix=PREFIX]

All flags are TensorBoard's. A profile that XProf converts into more than the machine has ends this process, not a search beside it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path
from typing import Any

from profiles.tensorboard_guard import Guard

_MOST_FILES = 1024
_MOST_FILE_BYTES = 4 << 30  # of one file that XProf keeps beside a profile
_LEAST_MEMORY_BYTES = 16 << 30  # address space: libraries reserve much more than they use
_NICE = 5
_OOM_SCORE = 500  # of 1000: whom the kernel ends first where memory runs out


def main() -> None:
    from absl import app
    from tensorboard import main_lib, program
    from tensorboard.plugins import base_plugin

    limit_process()
    main_lib.global_init()
    board = program.TensorBoard(plugins=_plugins(), server_class=_server)
    try:
        app.run(board.main, flags_parser=board.configure)
    except base_plugin.FlagsError as error:
        sys.exit(f"Error: {error}")


def limit_process() -> None:
    """Of this process and what it starts. A limit that stands lower already stays."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for kind, wanted in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
        (resource.RLIMIT_FSIZE, _MOST_FILE_BYTES),
        (resource.RLIMIT_AS, max(_LEAST_MEMORY_BYTES, memory)),
    ):
        hard = resource.getrlimit(kind)[1]
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (most, most))
    os.nice(_NICE)
    with contextlib.suppress(OSError):  # not on every kernel
        Path("/proc/self/oom_score_adj").write_text(f"{_OOM_SCORE}\n")


def _plugins() -> list[Any]:
    """XProf's is left out where it is not installed; `tuner tensorboard` still shows the HParams tab then."""
    from tensorboard.plugins.core.core_plugin import CorePluginLoader
    from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
    from tensorboard.plugins.metrics.metrics_plugin import MetricsPlugin
    from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin

    found: list[Any] = [CorePluginLoader(include_debug_info=True), MetricsPlugin, ScalarsPlugin, HParamsPlugin]
    try:
        from xprof.profile_plugin_loader import ProfilePluginLoader
    except ImportError:
        return found

    class WithoutCapture(ProfilePluginLoader):  # type: ignore[misc]  # xprof has no types
        """Its button would be refused."""

        def load(self, context: Any) -> Any:
            context.hide_capture_profile_button = True
            return super().load(context)

    return [*found, WithoutCapture()]


def _server(app: Any, flags: Any) -> Any:
    from tensorboard.program import WerkzeugServer

    return WerkzeugServer(Guard(app, Path(flags.logdir), flags.path_prefix or ""), flags)


if __name__ == "__main__":
    main()
