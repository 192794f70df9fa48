"""A search that may start: what was asked for, looked at from end to end, and what the ledger holds of it."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search_spaces.domains import Value
from search_spaces.space import GRID_POINTS, Space
from search_spaces.study import StudySpace
from trainables.config import TrialConfig
from trainables.config_parts import SAMPLE_SOURCE
from trainables.data.reading import look_at_rows
from trainables.encoder_files import find_encoder
from trainables.inputs import DataChangedError, Inputs, changed_sums, is_teacher, open_inputs, with_absolute_paths
from trainables.parts import Problems
from trainables.sizes import most_checkpoint_bytes, most_model_bytes
from tuner.confirm import is_confirmed, num_trainings
from tuner.room import TEXT_BYTES, most_bytes, running_bytes, usual_bytes
from tuner.settings import SearchSettings

SAMPLE_BUDGET = 630
"""Training examples of a full trial on the sample corpus, so that a search that only tries tritune out takes minutes."""

CONFIRM_SHARE = 0.4
"""Of dev, kept to confirm the best with, unless the config says otherwise."""

OWNED_PATHS = {
    "seed": "--seed",
    "num_threads": "--cpus-per-trial",
    "budget_examples": "--budget",
    "num_reports": "--set num_reports=N",
    "early_dev_share": "--set early_dev_share=X",
    "data.confirm_share": "--set data.confirm_share=X",
    "score_confirm": "--confirm K",
    "tasks": "--tasks FILE",
    "data.source": "--data",
    "encoder.name": "--set encoder.name=NAME",
    "data.more_rows": "--set data.more_rows.TASK='[\"FILE\"]'",
    "objective.distill.teachers": "--set objective.distill.teachers.TASK=FOLDER",
}
"""What is the same in every trial -> what sets it.  None of these, and nothing in them, is a dimension."""


@dataclass(frozen=True)
class SearchPlan:
    """A search that may start.

    Attributes:
        settings, space: as asked for; the space without what was set by hand.
        base: the config under every trial, with its budget filled in.
        data_hashes: of data and teachers (`trainables.inputs.hashes_of`).
        left_out: a line for each row that is not used.
        num_rows: task -> training rows.
        encoder_sha256: of the encoder's weights.
        fixed: paths that were set by hand; they never vary, in no space.
        model_bytes, checkpoint_bytes: of the largest trial, at most (`trainables.sizes`).
        num_scored: rows of `dev`, and of `test` where there is one, over all tasks.
        num_layers: of the encoder.
    """

    settings: SearchSettings
    space: Space
    base: TrialConfig
    data_hashes: dict[str, str]
    left_out: tuple[str, ...]
    num_rows: dict[str, int]
    encoder_sha256: str
    fixed: tuple[str, ...] = ()
    model_bytes: int = 0
    checkpoint_bytes: int = 0
    num_scored: Mapping[str, int] = field(default_factory=dict)
    num_layers: int = 1

    def most_bytes(self, slots: int) -> int:
        """What trials and ledger take at most with so many trials at once (`tuner.room`)."""
        return most_bytes(**self._sizes(slots))

    def usual_bytes(self, slots: int) -> int:
        """What they take between two reports, once as many models are kept as may be."""
        return usual_bytes(**self._sizes(slots))

    def _sizes(self, slots: int) -> dict[str, int]:
        num_confirmed = self.settings.confirm + 1 if is_confirmed(self.settings, self.base) else 0
        return {
            "model_bytes": self.model_bytes,
            "checkpoint_bytes": self.checkpoint_bytes,
            "num_trials": self.settings.trials + num_trainings(self.settings, self.base),
            "slots": slots,
            "keep_models": self.settings.keep_models + num_confirmed,
        }

    def bytes_in_folder(self) -> int:
        """What the search's folder takes where trials lie in a storage: the ledger, logs, a model to be exported."""
        return self.settings.trials * TEXT_BYTES + self.model_bytes

    def running_bytes(self) -> int:
        """What a trial takes at most on the machine that it works on."""
        return running_bytes(model_bytes=self.model_bytes, checkpoint_bytes=self.checkpoint_bytes)

    def header(self) -> dict[str, Any]:
        """What the ledger holds of it."""
        return {
            "settings": self.settings.to_tree(),
            "space": self.space.to_tree(),
            "base": self.base.to_tree(),
            "data_hashes": self.data_hashes,
            "left_out": list(self.left_out),
            "encoder_sha256": self.encoder_sha256,
            "fixed": list(self.fixed),
        }

    def for_people(self) -> dict[str, Any]:
        """Settings, space and base config as a person reads them: `settings.yaml`, `--print-config`."""
        return {"settings": self.settings.to_tree(), "space": self.space.to_tree(), "config": self.base.to_tree()}


def base_config(start: TrialConfig, assignments: Mapping[str, Any], data: str | None, settings: SearchSettings) -> TrialConfig:
    """The config under every trial: what it starts from; then `--data`, CPUs, the confirm part of dev, and what is set by hand.

    Raises:
        ConfigError: a mistake in the assignments.
    """
    kept = 0.0 if settings.study is not None else start.data.confirm_share or (CONFIRM_SHARE if settings.confirm else 0.0)
    own: dict[str, Any] = {"num_threads": settings.cpus_per_trial, "data.confirm_share": kept, "score_confirm": False}
    own |= {"data.source": data} if data else {}
    config = start.override({**own, **assignments})
    if config.data.source == SAMPLE_SOURCE and config.budget_examples is None:
        config = config.override({"budget_examples": SAMPLE_BUDGET})
    return with_absolute_paths(config)


def open_or_look(config: TrialConfig, problems: Problems) -> Inputs:
    """The inputs of a search; where it will not start, encoder and rows are only looked at, for tokens take a while.

    Raises:
        ConfigError: every mistake found, so far and here.
    """
    if problems:
        problems.attempt(lambda: find_encoder(config.encoder.name))
        problems.attempt(lambda: look_at_rows(config.data, config.tasks))
    inputs = None if problems else problems.attempt(lambda: open_inputs(config))
    problems.raise_any()
    assert inputs is not None
    return inputs


def check_unchanged(header: Mapping[str, Any], plan: SearchPlan) -> None:
    """Compares a search that is to go on with what stands in its ledger.

    Raises:
        DataChangedError: names each file, teacher or encoder that is another one.
    """
    before, now = header["data_hashes"], plan.data_hashes
    if not any(map(is_teacher, before)):  # an older search did not write down which teachers it has
        now = {name: sum_ for name, sum_ in now.items() if not is_teacher(name)}
    changed = changed_sums(before, now, "data")
    encoder = f"encoder {plan.base.encoder.name}"
    changed += changed_sums(
        {encoder: header.get("encoder_sha256", plan.encoder_sha256)}, {encoder: plan.encoder_sha256}, "weights"
    )
    if changed:
        raise DataChangedError(changed)


def _capped_at_grid(settings: SearchSettings, space: Space, base: TrialConfig) -> SearchSettings:
    """A grid search has no more trials than its grid has points."""
    if settings.searcher != "grid":
        return settings
    num_points = sum(1 for _ in itertools.islice(space.grid(base, GRID_POINTS), settings.trials))
    return settings.model_copy(update={"trials": num_points})


def plan_of(settings: SearchSettings, space: Space, inputs: Inputs, fixed: tuple[str, ...]) -> SearchPlan:
    """The plan over inputs that were opened; `fixed` are the paths set by hand."""
    model_bytes, checkpoint_bytes = _most_trial_bytes(space, inputs)
    return SearchPlan(
        settings=_capped_at_grid(settings, space, inputs.config),
        space=space,
        base=inputs.config,
        data_hashes=inputs.hashes,
        left_out=tuple(str(row) for row in inputs.store.left_out),
        num_rows={task: inputs.store.table(task, "train").num_rows for task in inputs.config.tasks.names},
        encoder_sha256=inputs.files.weights_sha256,
        fixed=fixed,
        model_bytes=model_bytes,
        checkpoint_bytes=checkpoint_bytes,
        num_scored=_num_scored(inputs),
        num_layers=inputs.files.num_layers,
    )


def _num_scored(inputs: Inputs) -> dict[str, int]:
    tables = inputs.store.tables.items()
    return {wanted: sum(table.num_rows for (_, split), table in tables if split == wanted) for wanted in ("dev", "test")}


def _most_trial_bytes(space: Space, inputs: Inputs) -> tuple[int, int]:
    """Bytes of the largest model and the largest checkpoint that a trial of this space may have, at most."""
    varying: dict[str, list[Value]] = {}
    for dimension in space.dimensions:
        varying.setdefault(dimension.path, []).extend(dimension.domain.grid(2))
    configs = [config for _, config in space.configs(inputs.config)] if isinstance(space, StudySpace) else [inputs.config]
    models = (most_model_bytes(config, inputs.files, varying) for config in configs)
    return max(models), max(most_checkpoint_bytes(config, inputs.files, varying) for config in configs)
