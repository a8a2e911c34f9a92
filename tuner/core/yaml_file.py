"""Reading YAML that people wrote: a key that is there twice is refused instead of the last one silently winning. JSON is YAML."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from tuner.core.errors import BadInput


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _value in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is there twice", key_node.start_mark)
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """What the text says, of plain types. Raises yaml.YAMLError, also for a key that is there twice, and RecursionError."""
    return yaml.load(text, Loader=_StrictLoader)  # noqa: S506  # derives from SafeLoader


def read_yaml(path: Path, *, what: str = "", holds: str) -> dict[str, Any]:
    """The mapping with text keys in a file; {} for an empty file. Raises BadInput in one line with the line's number.

    `what` stands before the path in messages ("workload file"), `holds` says what belongs at the top ("settings such as model").
    """
    where = f"{what} {path}".strip()
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{where} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{where} cannot be read: it is not UTF-8 text") from error
    except yaml.constructor.ConstructorError as error:
        raise BadInput(f"{where}{_line(error)}: {error.problem}; keep one") from error
    except yaml.MarkedYAMLError as error:
        raise BadInput(f"{where}{_line(error)}: not valid YAML ({error.problem}); fix that line") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{where} is not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise BadInput(f"{where} is nested too deeply") from error
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise BadInput(f"{where} must hold {holds} at its top, found {type(data).__name__}")
    return data


def _line(error: yaml.MarkedYAMLError) -> str:
    return f":{error.problem_mark.line + 1}" if error.problem_mark is not None else ""
