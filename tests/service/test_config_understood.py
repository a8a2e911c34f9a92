"""vLLM's own parser understands each form of a recommendation alike."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from storage.base import Storage
from tests.plugins.programs import Programs
from tests.plugins.server import StartServer
from tests.service.served_config import fetch_forms

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Reads each form with vLLM's own parser, as `vllm serve` would, and prints what it understood.
PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
understood = []
for words in json.loads(sys.argv[1]):
    parser = FlexibleArgumentParser(prog="vllm")
    serve = make_arg_parser(parser.add_subparsers(dest="subparser").add_parser("serve"))
    found = vars(parser.parse_args(["serve", *words]))
    understood.append({name: repr(value) for name, value in found.items() if name not in ("config", "model_tag", "model")})
    understood[-1]["served"] = found["model_tag"] or found["model"]
print(json.dumps(understood))
"""


def test_vllm_understands_every_form_alike(programs: Programs, start: StartServer, storage: Storage, tmp_path: Path) -> None:
    answered = fetch_forms(start, storage, tmp_path)
    container: dict[str, Any] = yaml.safe_load((answered / "serve.kubernetes").read_text())
    assert container["command"] == ["vllm", "serve"]
    arguments = [word.replace("$$", "$") for word in container["args"]]  # as the kubelet does
    flags = shlex.split((answered / "serve.flags").read_text())
    forms = [["--config", str(answered / "serve.yaml")], [container["args"][0], *flags], arguments]
    environment = {item["name"]: item["value"] for item in container["env"]}
    printed = programs.execute(PARSE, json.dumps(forms), env=environment)
    by_yaml, by_flags, by_container = json.loads(printed.splitlines()[-1])
    assert by_yaml == by_flags == by_container
    assert (by_yaml["block_size"], by_yaml["max_num_batched_tokens"]) == ("32", "128")
    assert by_yaml["scheduler_cls"].endswith("PageAlignedScheduler'")
    assert "'variant': 'demote'" in by_yaml["additional_config"]
