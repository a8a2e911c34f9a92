"""The HParams tab of TensorBoard, without a browser."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

needs_tensorboard = pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed (extra: ui)")


def session_groups(logdir: Path) -> list[Any]:
    """What the HParams tab would list."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(logdir))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider, logdir=str(logdir)))
    experiment = get_experiment.Handler(RequestContext(), context, "", api_pb2.GetExperimentRequest()).run()
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING],
        col_params=[api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos],
    )
    return list(list_session_groups.Handler(RequestContext(), context, "", request).run().session_groups)
