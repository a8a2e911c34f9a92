"""What a submitted study needs of a machine, and whether a machine has it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion

from storage.queue_records import FleetWorker
from storage.records import Json
from tuner.core.errors import BadInput
from tuner.setup.config import WITHOUT_AN_ENGINE, StudyConfig

_VERSION = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*?)\s*((?:[<>=!~]=|[<>])\s*.+)")
_EXAMPLES = "for instance accelerator=v6e, chips=4 or 'vllm>=0.11'"


@dataclass(frozen=True)
class Machine:
    """What a worker offers. `accelerator`: as in an environment ("TPU v6e-4", "cpu x86_64 ..."); `versions`: package -> version."""

    accelerator: str
    chips: int
    versions: Mapping[str, str]


def parse_requirements(texts: Sequence[str]) -> Json:
    """("accelerator=v6e", "chips=4", "vllm>=0.11") -> {"accelerator": "v6e", "chips": 4, "versions": {"vllm": ">=0.11"}}.
    Raises BadInput."""
    found: Json = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if name == "accelerator" and equals and value and value[0] != "=":
            found["accelerator"] = value
        elif name == "chips" and value.isascii() and value.isdecimal() and int(value) > 0:
            found["chips"] = int(value)
        elif (version := _VERSION.fullmatch(text.strip())) and version[1] not in ("accelerator", "chips"):
            known = found.setdefault("versions", {})
            known[version[1]] = ",".join(filter(None, (known.get(version[1]), version[2].replace(" ", ""))))
        else:
            raise BadInput("says nothing that a machine could have", setting="require", value=repr(text), fix=f"write {_EXAMPLES}")
    check_requirements(found)
    return found


def check_requirements(requirements: Mapping[str, object]) -> None:
    """Raises BadInput for what no machine could be asked."""
    for name, value in requirements.items():
        if name == "versions" and isinstance(value, Mapping):
            for package, wanted in value.items():
                try:
                    SpecifierSet(str(wanted))
                except InvalidSpecifier as error:
                    fix = "write a comparison such as >=0.11"
                    raise BadInput("is no version", setting="require", value=f"{package}{wanted}", fix=fix) from error
        elif not (name == "accelerator" and isinstance(value, str) and words(value)) and not (
            name == "chips" and isinstance(value, int) and not isinstance(value, bool) and value > 0
        ):
            raise BadInput("says nothing that a machine could have", setting="require", value=repr(name), fix=f"write {_EXAMPLES}")


def implied(config: StudyConfig) -> Json:
    """What the study's own settings need: a TPU where it names one, a chip for each part of a split model."""
    if config.launcher in WITHOUT_AN_ENGINE:
        return {}
    parallel = max([config.tensor_parallel_size, *map(int, config.factors.get("tensor_parallel_size", ()))])
    return {**({"accelerator": "tpu"} if config.platform == "tpu" else {}), **({"chips": parallel} if parallel > 1 else {})}


def fits(requirements: Mapping[str, object], machine: Machine) -> bool:
    """False also for requirements that cannot be read: what is not understood is not promised."""
    try:
        check_requirements(requirements)
    except BadInput:
        return False
    accelerator, chips, versions = (requirements.get(name) for name in ("accelerator", "chips", "versions"))
    if isinstance(accelerator, str) and not words(accelerator) <= words(machine.accelerator):
        return False
    if isinstance(chips, int) and machine.chips < chips:
        return False
    wanted = versions if isinstance(versions, Mapping) else {}
    return all(_has(machine, package, str(version)) for package, version in wanted.items())


def is_like(machine: Machine, worker: FleetWorker) -> bool:
    """Whether what the two measure may stand side by side in one study: the same accelerator, as many chips, the same versions."""
    mine = machine.accelerator, machine.chips, dict(machine.versions)
    return mine == (worker.accelerator, worker.chips, worker.versions)


def _has(machine: Machine, package: str, wanted: str) -> bool:
    """Names of packages as PEP 503 has them: vllm-tpu is vllm_tpu."""
    known = {_normal(name): version for name, version in machine.versions.items()}
    found = known.get(_normal(package))
    try:
        return found is not None and SpecifierSet(wanted).contains(found, prereleases=True)
    except InvalidVersion:
        return False


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def words(name: str) -> frozenset[str]:
    """ "TPU v6e-4" -> tpu, v6e, 4."""
    return frozenset(re.findall(r"[a-z0-9.]+", name.lower()))
