"""Reading YAML and JSON: a key that is there twice is refused instead of the last one silently winning. JSON that people wrote is read as
YAML."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tuner.core.errors import BadInput

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_OLD_NUMBER = re.compile(r"[-+]?0[0-7_]+|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_WITHOUT_VALUE = ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")  # the keys << and =


class DuplicateKey(yaml.constructor.ConstructorError):
    """A mapping names a key twice."""


class OldNumber(yaml.constructor.ConstructorError):
    """A number that other readers, and people, read as something else."""


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key written twice, and in one line whatever else it cannot turn into a value.

    Keys are compared where a mapping is read, as it stands in the file: merging (`<<`) later adds keys that ours rightly replace.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs have no types for it
            node = self.anchors.get(event.anchor)
            if node is not None and node.end_mark is None:  # it is still being read
                raise yaml.composer.ComposerError(None, None, f"*{event.anchor} stands inside what it names", event.start_mark)
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[object] = set()
        for key_node, _value in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # no key of a dictionary: refused later
            key = key_node.value if key_node.tag in _WITHOUT_VALUE else self.construct_object(key_node)
            if key in seen:
                raise DuplicateKey(None, None, f"the key {key!r} is there twice", key_node.start_mark)
            seen.add(key)
        return node

    def construct_scalar(self, node: Any) -> Any:
        """Refuses numbers that only YAML 1.1 knows: 1:30 is 90 to it, and 0256 is 174."""
        value = super().construct_scalar(node)
        if node.tag in _NUMBERS and node.style is None and _OLD_NUMBER.fullmatch(value):
            problem = (
                f"{value} is a number to the base of {'60' if ':' in value else '8'} in YAML 1.1; quote what is text, or write it plainly"
            )
            raise OldNumber(None, None, problem, node.start_mark)
        return value

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:  # a month 13, a number of 5000 digits, !!int abc: each type raises something of its own
            kind = node.tag.rpartition(":")[2]
            shown = repr(node.value)
            raise yaml.constructor.ConstructorError(
                None, None, f"{shown if len(shown) <= 40 else f'{shown[:40]}...'} is no {kind}; quote what is text", node.start_mark
            ) from error


def parse_yaml(text: str) -> Any:
    """What the text says, of plain types. Raises yaml.YAMLError, also for a key that is there twice, and RecursionError."""
    return yaml.load(text, Loader=_StrictLoader)  # noqa: S506  # derives from SafeLoader


def parse_json(text: str | bytes) -> Any:
    """What JSON says that a program wrote: much faster than YAML, and as strict about keys. Raises ValueError, RecursionError."""
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _value in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def read_yaml(path: Path, *, what: str = "", holds: str) -> dict[str, Any]:
    """The mapping with text keys in a file; {} for an empty file. Raises BadInput in one line with the line's number.

    `what` stands before the path in messages ("workload file"), `holds` says what belongs at the top ("settings such as model").
    """
    where = f"{what} {path}".strip()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{where} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{where} cannot be read: it is not UTF-8 text") from error
    return parse_settings(text, where=where, holds=holds)


def parse_settings(text: str, *, where: str, holds: str) -> dict[str, Any]:
    """The mapping with text keys that the text is; {} for an empty one. Raises BadInput in one line with the line's number; it begins with
    `where`, and `holds` says what belongs at the top."""
    try:
        data = parse_yaml(text)
    except DuplicateKey as error:
        raise BadInput(f"{where}{_line(error)}: {error.problem}; keep one") from error
    except OldNumber as error:
        raise BadInput(f"{where}{_line(error)}: {error.problem}") from error
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
