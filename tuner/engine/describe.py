"""What an engine with given `vllm serve` arguments will be, and where it runs, without starting it.

    main() with sys.argv = [_, OUT.json, MODEL, FLAGS...]      (a command of tuner.engine.command_host)

vLLM's own parser and configuration decide, with the platform's corrections (tpu-inference changes settings behind the user's back). A
running server tells neither: its /server_info needs tools that are not everywhere (it runs vLLM's collect_env).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tuner.engine.environment import configured, describe_environment


def main() -> None:
    from vllm import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    arguments = make_arg_parser(FlexibleArgumentParser(prog="vllm serve")).parse_args(sys.argv[2:])
    arguments.model = arguments.model_tag
    validate_parsed_serve_args(arguments)
    config = AsyncEngineArgs.from_cli_args(arguments).create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
    described = {"effective": configured(config), "environment": describe_environment()}
    Path(sys.argv[1]).write_text(json.dumps(described), encoding="utf-8")
