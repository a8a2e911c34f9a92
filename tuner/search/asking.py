"""The asking side of a sampled search: the baseline first, then what the sampler proposes, each with the other arm of its cell."""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import Environment, ForesightAnswer, Stage
from tuner.core.errors import BadInput, TrialFailed
from tuner.search.prior import SimulatedPrior, observations
from tuner.search.proposer import Observation, Proposer, Seconds
from tuner.search.warm_start import EarlierStudy, find_earlier, load_earlier
from tuner.setup.config import ORDINAL
from tuner.setup.space import Configuration
from tuner.trials.context import RunContext
from tuner.trials.engines import EnginePool
from tuner.trials.optuna_record import PRIOR_ATTRIBUTE, SAMPLER_ATTRIBUTE, WARM_START_ATTRIBUTE, OptunaRecord
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

    def __init__(
        self,
        context: RunContext,
        book: TrialBook,
        pool: EnginePool,
        record: OptunaRecord,
        sampler: str,
        *,
        prior: SimulatedPrior | None = None,
    ) -> None:
        """`prior`: where the configurations can be foreseen."""
        self._context = context
        self._space = context.setup.space
        self._book = book
        self._pool = pool
        self._record = record
        self._sampler = sampler
        self._prior = prior
        self._proposer: Proposer | None = None
        self._left = list(context.setup.space.configurations)  # known ones at its end are dropped: what is known stays known

    @property
    def knows_the_accelerator(self) -> bool:
        """Whether a proposal can be made, or is the baseline: its engine tells where this is."""
        baseline = self._book.find(self._space.baseline)
        return baseline is None or baseline.finished or self._proposer is not None

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
        self._proposer.hold(run.configuration for run in self._book.unfinished())  # others measure them
        count = max(1, want // self._space.compared_levels)
        new = self._new(self._proposer.propose(count, self._pool.running_engine))
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
            predicted=self._foreseen(),
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
        environment = self._environment()
        found = find_earlier(storage, setup, None if environment is None else environment.accelerator)
        self._record.set_attribute(WARM_START_ATTRIBUTE, [study.to_json() for study in found])
        for study in found:
            where = "" if study.same_workload else " of another workload"
            self._context.progress.note(f"warm start: {len(study.observations)} results{where} from study {study.name!r} as priors")
        return found

    def _environment(self) -> Environment | None:
        fingerprint = next((run.trial.environment for run in self._book.runs if run.trial.environment), None)
        return None if fingerprint is None else self._context.storage.get_environment(fingerprint)

    def _foreseen(self) -> Sequence[Observation]:
        """What foresight says of the space: what the study began with, also when it is taken up again."""
        setup, storage = self._context.setup, self._context.storage
        known = self._record.attribute(PRIOR_ATTRIBUTE)
        if known is not None:
            self._book.prior = known["words"]
            return observations(setup, storage.find_foresight(known["keys"]).values())
        environment = self._environment()
        if self._sampler != ORDINAL or self._prior is None or environment is None:
            return ()
        predicted = self._predicted(self._prior, environment)
        found = observations(setup, predicted)
        if found:
            words = f"predicted for {len(found)} configurations by simulation; {self._prior.model.error.sentence}"
            self._record.set_attribute(PRIOR_ATTRIBUTE, {"keys": [item.key for item in predicted], "words": words})
            self._book.prior = words
            self._context.progress.note(f"prior: {words}")
        return found

    def _predicted(self, prior: SimulatedPrior, environment: Environment) -> Sequence[ForesightAnswer]:
        """A search goes on without foresight where that fails."""
        try:
            return prior.predict(self._context.setup, self._context.storage, environment, self._context.progress.note)
        except (TrialFailed, BadInput) as error:
            self._context.progress.note(f"prior: nothing is predicted: {error}")
            return ()

    def _seconds(self) -> Seconds:
        """Costs as seen in this run. A proposal costs the windows of all arms, or of all levels of the factor that is compared."""
        costs, rounds = self._context.costs, self._context.setup.config.rounds
        return Seconds(costs.start_s, self._space.compared_levels * rounds.typical * costs.window_s)
