"""The asking side of a sampled search: the baseline first, then what the sampler proposes, each with the other arm of its cell."""

from __future__ import annotations

from storage.records import Stage
from tuner.search.plan import choose_sampler, known_costs
from tuner.search.proposer import Proposer, Seconds
from tuner.search.warm_start import EarlierStudy, find_earlier, load_earlier
from tuner.setup.config import ORDINAL
from tuner.setup.space import Configuration
from tuner.trials.group import Workshop
from tuner.trials.optuna_record import SAMPLER_ATTRIBUTE, WARM_START_ATTRIBUTE, OptunaRecord


def sampler_of(shop: Workshop, record: OptunaRecord) -> str:
    """The sampler that the study began with, else the one for its settings: costs that were learned since must not change it halfway."""
    known = record.attribute(SAMPLER_ATTRIBUTE)
    if known is not None:
        return str(known)
    chosen = choose_sampler(shop.setup, known_costs(shop.storage, shop.setup))
    record.set_attribute(SAMPLER_ATTRIBUTE, chosen)
    return chosen


class Asking:
    """Makes the proposer when it is first needed: after the baseline, whose engine says which accelerator this is."""

    def __init__(self, shop: Workshop, record: OptunaRecord, sampler: str) -> None:
        self._shop = shop
        self._space = shop.setup.space
        self._record = record
        self._sampler = sampler
        self._proposer: Proposer | None = None

    @property
    def exhausted(self) -> bool:
        return all(self._shop.book.find(configuration) is not None for configuration in self._space.configurations)

    def choose(self, want: int) -> list[Configuration]:
        """At most `want` configurations that never ran: the baseline first of all, alone, and each with the other arm of its cell."""
        if self._shop.book.find(self._space.baseline) is None:
            return self._new([self._space.baseline])[:want]
        if self._proposer is None:
            self._proposer = self._made()
            self._shop.book.listener = self._proposer.tell
        count = max(1, want // len(self._space.arms))
        new = self._new(self._proposer.propose(count, self._shop.keeper.running_block_size))
        self._proposer.hold(new)
        return new[:want]

    def _new(self, proposals: list[Configuration]) -> list[Configuration]:
        return [item for item in self._space.with_twins(proposals) if self._shop.book.find(item) is None]

    def _made(self) -> Proposer:
        setup = self._shop.setup
        proposer = Proposer(
            self._sampler,
            self._space,
            [objective.direction for objective in setup.objectives],
            setup.config.seed,
            earlier=[study.observations for study in self._earlier()],
            costs=self._seconds if self._shop.keeper.all_live else None,
        )
        for run in self._shop.book.staged(Stage.SEARCH):
            if run.finished:
                proposer.tell(run.configuration, *self._shop.book.result_of(run))
        return proposer

    def _earlier(self) -> list[EarlierStudy]:
        """What the study began with, also when it is taken up again."""
        if self._sampler != ORDINAL:
            return []
        shop, setup = self._shop, self._shop.setup
        known = self._record.attribute(WARM_START_ATTRIBUTE)
        if known is not None:
            return load_earlier(shop.storage, setup, [item["study"] for item in known])
        fingerprint = next((run.trial.environment for run in shop.book.runs if run.trial.environment), None)
        found = find_earlier(shop.storage, setup, shop.storage.get_environment(fingerprint).accelerator if fingerprint else None)
        self._record.set_attribute(WARM_START_ATTRIBUTE, [study.to_json() for study in found])
        for study in found:
            where = "" if study.same_workload else " of another workload"
            shop.progress.note(f"warm start: {len(study.observations)} results{where} from study {study.name!r} as priors")
        return found

    def _seconds(self) -> Seconds:
        """By what was seen in this run. A proposal is measured in all arms."""
        progress, config = self._shop.progress, self._shop.setup.config
        return Seconds(progress.start_s, len(self._space.arms) * config.rounds.typical * progress.window_s)
