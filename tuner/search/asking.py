"""The asking side of a sampled search: the baseline first, then what the sampler proposes, each with the other arm of its cell."""

from __future__ import annotations

from storage.records import Stage
from tuner.search.proposer import Proposer, Seconds
from tuner.search.warm_start import EarlierStudy, find_earlier, load_earlier
from tuner.setup.config import ORDINAL
from tuner.setup.space import Configuration
from tuner.trials.context import RunContext
from tuner.trials.engines import EnginePool
from tuner.trials.optuna_record import SAMPLER_ATTRIBUTE, WARM_START_ATTRIBUTE, OptunaRecord
from tuner.trials.trial import TrialBook


def sampler_of(record: OptunaRecord, planned: str) -> str:
    """The sampler that the study began with, else the planned one: costs that were learned since must not change it halfway."""
    known = record.attribute(SAMPLER_ATTRIBUTE)
    if known is not None:
        return str(known)
    record.set_attribute(SAMPLER_ATTRIBUTE, planned)
    return planned


class Asking:
    """Chooses what is measured next. The proposer is made after the baseline ran: only its engine tells which accelerator this is, and so
    which earlier studies can be learned from."""

    def __init__(self, context: RunContext, book: TrialBook, pool: EnginePool, record: OptunaRecord, sampler: str) -> None:
        self._context = context
        self._space = context.setup.space
        self._book = book
        self._pool = pool
        self._record = record
        self._sampler = sampler
        self._proposer: Proposer | None = None
        self._left = list(context.setup.space.configurations)  # known ones at its end are dropped: what is known stays known

    @property
    def exhausted(self) -> bool:
        while self._left and self._book.find(self._left[-1]) is not None:
            self._left.pop()
        return not self._left

    def choose(self, want: int) -> list[Configuration]:
        """At most `want` configurations that never ran: the baseline first of all, alone, and each with the other arm of its cell."""
        if self._book.find(self._space.baseline) is None:
            return self._new([self._space.baseline])[:want]
        if self._proposer is None:
            self._proposer = self._made()
            self._book.listener = self._proposer.tell
        count = max(1, want // len(self._space.arms))
        new = self._new(self._proposer.propose(count, self._pool.running_block_size))
        self._proposer.hold(new)
        return new[:want]

    def _new(self, proposals: list[Configuration]) -> list[Configuration]:
        return [item for item in self._space.with_twins(proposals) if self._book.find(item) is None]

    def _made(self) -> Proposer:
        setup = self._context.setup
        proposer = Proposer(
            self._sampler,
            self._space,
            [objective.direction for objective in setup.objectives],
            setup.config.seed,
            earlier=[study.observations for study in self._earlier()],
            costs=self._seconds if self._pool.all_live else None,
        )
        for run in self._book.staged(Stage.SEARCH):
            if run.finished:
                proposer.tell(run.configuration, *self._book.result_of(run))
        return proposer

    def _earlier(self) -> list[EarlierStudy]:
        """What the study began with, also when it is taken up again."""
        if self._sampler != ORDINAL:
            return []
        setup, storage = self._context.setup, self._context.storage
        known = self._record.attribute(WARM_START_ATTRIBUTE)
        if known is not None:
            return load_earlier(storage, setup, [item["study"] for item in known])
        fingerprint = next((run.trial.environment for run in self._book.runs if run.trial.environment), None)
        found = find_earlier(storage, setup, storage.get_environment(fingerprint).accelerator if fingerprint else None)
        self._record.set_attribute(WARM_START_ATTRIBUTE, [study.to_json() for study in found])
        for study in found:
            where = "" if study.same_workload else " of another workload"
            self._context.progress.note(f"warm start: {len(study.observations)} results{where} from study {study.name!r} as priors")
        return found

    def _seconds(self) -> Seconds:
        """Costs as seen in this run. A proposal costs the windows of all arms."""
        costs, rounds = self._context.costs, self._context.setup.config.rounds
        return Seconds(costs.start_s, len(self._space.arms) * rounds.typical * costs.window_s)
