import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trainables.config import BY_TASK, TrialConfig
from trainables.config_parts import DataConfig, SmartConfig
from trainables.parts import ConfigError
from trainables.paths import read_yaml, values_at, write_yaml
from trainables.tasks import CS224N, SST, STS, TaskSet


def for_each_task(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A value for each task, keys in any order."""
    return st.permutations(list(CS224N.by_name)).flatmap(lambda names: st.fixed_dictionaries(dict.fromkeys(names, values)))


def phases(shares: list[float]) -> st.SearchStrategy[list[dict[str, Any]]]:
    def phase(share: float) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries(
            {"share": st.just(share)},
            optional={
                "tasks": st.lists(st.sampled_from(list(CS224N.by_name)), min_size=1, unique=True),
                "task_schedule": st.sampled_from(["sum_of_losses", "round_robin", "random", "annealed"]),
                "trainable": st.sampled_from(["everything", "heads"]),
                "lr": st.none() | st.floats(1e-6, 1),
            },
        )

    return st.tuples(*map(phase, shares)).map(list)


HEADS = st.fixed_dictionaries({"kind": st.just("linear")}, optional={"dropout": st.floats(0, 0.9)}) | st.fixed_dictionaries(
    {"kind": st.just("mlp")}, optional={"hidden_size": st.none() | st.integers(1, 4096), "dropout": st.floats(0, 0.9)}
)
TREES = st.fixed_dictionaries(
    {},
    optional={
        "data": st.fixed_dictionaries({}, optional={"source": st.text(min_size=1), "max_tokens": st.integers(8, 512)}),
        "encoder": st.fixed_dictionaries(
            {}, optional={"pooling": st.sampled_from(["cls", "mean", "max", "attention"]), "dropout": st.floats(0, 0.9)}
        ),
        "heads": for_each_task(HEADS),
        "objective": st.fixed_dictionaries({"smart": st.fixed_dictionaries({"weights": for_each_task(st.floats(0, 100))})}),
        "balancing": st.fixed_dictionaries({"loss_weights": for_each_task(st.floats(0.01, 100) | st.integers(1, 9))}),
        "optimizer": st.fixed_dictionaries(
            {"warmup_fraction": st.floats(0.01, 0.9)},
            optional={
                "lr": st.floats(1e-9, 1),
                "max_grad_norm": st.none() | st.floats(0.1, 9),
                "lr_schedule": st.sampled_from(["constant", "linear", "cosine", "slanted_triangular"]),
            },
        ),
        "phases": st.sampled_from([[1.0], [0.25, 0.75], [0.1, 0.2, 0.7]]).flatmap(phases),
        "budget_examples": st.none() | st.integers(1, 10**9),
        "seed": st.integers(0, 2**63 - 1),
    },
)


def paths_of(tree: Any, path: str = "") -> list[str]:
    """Every path to a mapping, the root included."""
    if isinstance(tree, list):
        return [inner for i, item in enumerate(tree) for inner in paths_of(item, f"{path}{i}.")]
    if not isinstance(tree, dict):
        return []
    return [path, *(inner for key, value in tree.items() for inner in paths_of(value, f"{path}{key}."))]


HIDDEN = "mlp, conv1d, abs_difference, compress_expand"
MAPPINGS = paths_of(TrialConfig().to_tree())
SAID_BY_TASK = [f"{path}." for path in BY_TASK]


@settings(max_examples=60)
@given(TREES)
def test_a_config_is_given_back_by_its_tree_by_yaml_and_by_json(tree: dict[str, Any]) -> None:
    config = TrialConfig.parse(tree)
    for text in (config.to_tree(), yaml.safe_load(yaml.safe_dump(config.to_tree())), json.loads(json.dumps(config.to_tree()))):
        again = TrialConfig.parse(text)
        assert again == config and hash(again) == hash(config)
        assert again.to_tree() == config.to_tree()


@settings(max_examples=40)
@given(TREES)
def test_tasks_stand_in_one_order_whatever_the_order_they_are_given_in(tree: dict[str, Any]) -> None:
    sorted_keys = json.loads(json.dumps(TrialConfig.parse(tree).to_tree(), sort_keys=True))
    config = TrialConfig.parse(sorted_keys)
    for by_task in (config.heads, config.objective.smart.weights, config.balancing.loss_weights):
        assert list(by_task) == list(CS224N.by_name)
    assert config.to_tree() == TrialConfig.parse(tree).to_tree()


@given(st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_configs_are_equal_where_their_values_are(one: float, other: float) -> None:
    configs = [TrialConfig().override({"optimizer.lr": lr}) for lr in (one, other)]
    assert (configs[0] == configs[1]) == (one == other)
    assert len(set(configs)) == len({one, other})


@pytest.mark.parametrize("part", ["optimizer", "data", "encoder", "seed"])
def test_a_config_is_frozen(part: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(TrialConfig(), part, TrialConfig().optimizer)
    with pytest.raises(ValidationError, match="frozen"):
        TrialConfig().optimizer.lr = 1.0


@pytest.mark.parametrize("path", [path for path in MAPPINGS if path not in SAID_BY_TASK])
def test_an_unknown_key_is_named_with_the_nearest_wherever_it_stands(path: str) -> None:
    for key in values_at(TrialConfig().to_tree(), path[:-1])[0] if path else TrialConfig().to_tree():
        wrong = key + "x"
        tree = TrialConfig().to_tree()
        (values_at(tree, path[:-1])[0] if path else tree)[wrong] = 1
        with pytest.raises(ConfigError) as caught:
            TrialConfig.parse(tree)
        assert caught.value.problems == [f"{path}{wrong}: unknown key (did you mean {key}?)"]
        with pytest.raises(ConfigError) as caught:
            TrialConfig().override({f"{path}{wrong}": 1})
        assert caught.value.problems == [f"{path}{wrong}: there is no {wrong!r} to set (did you mean {key}?)"]


@pytest.mark.parametrize("path", SAID_BY_TASK)
def test_an_unknown_task_is_named_with_the_nearest(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrialConfig().override({path[:-1]: {"stsb": BY_TASK[path[:-1]]}})
    assert caught.value.problems == [f"{path[:-1]}: 'stsb' is no task (did you mean sts?); tasks are sst, qqp, sts"]


def test_all_mistakes_come_at_once() -> None:
    tree = {
        "optimiser": {},
        "data": {"batch_size": "16", "max_tokens": 4},
        "heads": {"sst": {"kind": "linear", "hidden_size": 3}, "qqp": {"knd": "mlp"}, "sts": {}},
        "optimizer": {"lr": float("nan"), "lr_schedule": "slanted_triangular"},
        "phases": [{"tasks": ["sst", "sst"]}],
        "seed": -1,
    }
    with pytest.raises(ConfigError) as caught:
        TrialConfig.parse(tree)
    assert sorted(caught.value.problems) == [
        "data.batch_size: input should be a valid integer, but got '16'",
        "data.max_tokens: input should be greater than or equal to 8, but got 4",
        "heads.qqp.knd: unknown key (did you mean kind?)",
        f"heads.sst: hidden_size is for kind={HIDDEN} alone, but got kind=linear, hidden_size=3",
        "optimiser: unknown key (did you mean optimizer?)",
        "optimizer.lr: input should be a finite number, but got nan",
        "phases.0.tasks: each task may stand once, but got sst, sst",
        "seed: input should be greater than or equal to 0, but got -1",
    ]
    assert str(caught.value) == "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    ("assignments", "problem"),
    [
        ({"phases.0.share": 0.5}, "TrialConfig: the shares of all phases must add up to 1, but got 0.5"),
        ({"phases": []}, "phases: at least 1 must stand here, but got []"),
        ({"phases.0.tasks": []}, "phases.0.tasks: a task must stand here"),
        ({"phases.0.tasks": ["sst", "nli"]}, "phases.0.tasks: 'nli' is no task; tasks are sst, qqp, sts"),
        (
            {"balancing.loss_weights.qqp": -1.0},
            "balancing.loss_weights.qqp: input should be greater than or equal to 0, but got -1.0",
        ),
        ({"tasks": "glue"}, "tasks: cs224n, or a mapping with tasks and score, must stand here, but got 'glue'"),
        ({"tasks": {"tasks": [{"name": "a"}]}}, "tasks.tasks.0.title: must be given"),
        (
            {"optimizer.lr_schedule": "slanted_triangular"},
            "optimizer: warmup_fraction > 0 must hold for lr_schedule=slanted_triangular, but got warmup_fraction=0.0",
        ),
        ({"optimizer.lr": True}, "optimizer.lr: input should be a valid number, but got True"),
        ({"data.normalise_text": 1}, "data.normalise_text: input should be a valid boolean, but got 1"),
        ({"data": 3}, "data: input should be a valid dictionary or instance of DataConfig, but got 3"),
        ({"encoder.pooling": "sum"}, "encoder.pooling: input should be 'cls', 'mean', 'max' or 'attention', but got 'sum'"),
        ({"phases.1.share": 0.5}, "phases.1.share: there is no '1' to set; known here: 0"),
        ({"optimizer.lr.peak": 1}, "optimizer.lr.peak: there is no 'peak' to set"),
        ({"optimizer.*.x": 1}, "optimizer.*.x: there is no 'x' to set"),
    ],
)
def test_a_broken_rule_is_told_with_its_place_and_value(assignments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrialConfig().override(assignments)
    assert problem in caught.value.problems


READ_APART = {"encoder.pair_encoding": "bi"}
PCGRAD = {"balancing.gradients": "pcgrad"}
SMART = {"objective.smart.enabled": True}
TWO_ENCODERS = {"encoder.copies": "singles_and_pairs"}
JOINT = {"task_schedule": "sum_of_losses"}
WHOLE_DATASETS = {"task_schedule": "whole_dataset_round_robin"}
HEADS_ALONE = {"trainable": "heads"}


@pytest.mark.parametrize(
    ("assignments", "problem"),
    [
        ({"heads.sts.kind": "cosine"}, "heads.sts.kind=cosine compares two sentences that are read apart"),
        ({**READ_APART, "heads.sst.kind": "abs_difference"}, "heads.sst.kind=abs_difference compares two sentences"),
        ({**READ_APART, "heads.qqp.kind": "cosine"}, "heads.qqp.kind=cosine gives a score, but qqp asks for binary"),
        ({**READ_APART, "heads.qqp.kind": "conv1d"}, "heads.qqp.kind=conv1d reads one sequence, but pairs are read apart"),
        ({**READ_APART, "heads.sts.kind": "cosine", "heads.sts.output": "relu"}, "heads.sts.output=relu changes nothing"),
        ({**READ_APART, "heads.sts.kind": "cosine", "phases.0.trainable": "heads"}, "phases.0.trainable=heads: the head of sts"),
        ({"phases.0.round_share": {"qqp": 0.5}}, "phases.0.round_share is for task_schedule=whole_dataset_round_robin"),
        ({"phases.0.round_share": {"nli": 0.5}}, "phases.0.round_share: 'nli' is no task"),
        ({"heads.sst.output": "relu"}, "heads.sst.output=relu is for scores, but sst asks for classes"),
        ({"objective.losses.sts": "ordered_cross_entropy"}, "objective.losses.sts=ordered_cross_entropy is for ordered classes"),
        ({"objective.contrastive.weights.qqp": 1.0}, "objective.contrastive.weights.qqp must be 0 unless qqp is a task of pairs"),
        ({**READ_APART, "objective.contrastive.weights.sst": 1.0}, "objective.contrastive.weights.sst must be 0 unless"),
        ({"balancing.gradients": "pcgrad"}, "balancing.gradients=pcgrad needs steps of several tasks"),
        ({"balancing.gradients": "pcgrad", "phases.0.tasks": ["qqp"]}, "balancing.gradients=pcgrad changes nothing: each phase"),
        ({**PCGRAD, "phases": [{**JOINT, **HEADS_ALONE}]}, "balancing.gradients=pcgrad changes nothing: steps of several tasks"),
        (
            {**PCGRAD, "phases": [{"tasks": ["qqp"], "share": 0.5}, {**JOINT, **HEADS_ALONE, "share": 0.5}]},
            "balancing.gradients=pcgrad changes nothing: steps of several tasks train heads alone",
        ),
        (
            {**PCGRAD, **TWO_ENCODERS, "phases": [{**JOINT, "tasks": ["sst", "sts"]}]},
            "balancing.gradients=pcgrad changes nothing beside encoder.copies=singles_and_pairs: no two tasks",
        ),
        ({"encoder.lora.rank": 4, "phases": [HEADS_ALONE]}, "encoder.lora.rank=4 changes nothing: each phase trains heads alone"),
        ({**SMART, "objective.smart.noise_std": 0.0}, "objective.smart: noise_std > 0 must hold where step_size > 0"),
        (
            {**SMART, "objective.smart.weights.*": 0.0},
            "objective.smart.enabled=true changes nothing: objective.smart.weights is 0",
        ),
        (
            {**SMART, "objective.smart.weights.sst": 0.0, "phases.0.tasks": ["sst"]},
            "objective.smart.enabled=true changes nothing: objective.smart.weights is 0 for each task that trains (sst)",
        ),
        (
            {**SMART, "objective.smart.batch_share": 0.9, "data.batch_size": 8},
            "objective.smart.batch_share=0.9 changes nothing: of data.batch_size=8 examples, rounded up, it is all",
        ),
        ({"balancing.loss_weights.*": 0.0}, "balancing.loss_weights: one > 0 must stand there"),
        (
            {"balancing.loss_weights.sst": 0.0, "balancing.loss_weights.sts": 0.0, "phases.0.tasks": ["sst", "sts"]},
            "balancing.loss_weights: one > 0 must stand there, but got 0 for each task that trains (sst, sts)",
        ),
        (
            {"phases": [{**WHOLE_DATASETS, "tasks": ["sst", "sts"], "round_share": {"qqp": 0.5}}]},
            "phases.0.round_share.qqp changes nothing: the tasks of this phase are sst, sts",
        ),
    ],
)
def test_what_makes_no_sense_together_is_refused(assignments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        TrialConfig().override(assignments)
    assert [line for line in error.value.problems if line.startswith(problem)], error.value.problems


@pytest.mark.parametrize(
    "assignments",
    [
        {**READ_APART, "heads.sts.kind": "cosine", "heads.qqp.kind": "abs_difference", "heads.sst.kind": "conv1d"},
        {"heads.sts.output": "sigmoid", "objective.losses.sst": "ordered_cross_entropy", "heads.qqp.kind": "conv1d"},
        {**READ_APART, "objective.contrastive.weights.qqp": 1.0, "objective.contrastive.weights.sts": 0.5},
        {"balancing.gradients": "pcgrad", "phases.0.task_schedule": "sum_of_losses"},
        {**PCGRAD, "phases": [{"tasks": ["qqp"], "share": 0.5}, {**JOINT, "share": 0.5}]},
        {**PCGRAD, **TWO_ENCODERS, "phases": [JOINT]},
        {**PCGRAD, "phases": [{**JOINT, "share": 0.5}, {**JOINT, **HEADS_ALONE, "share": 0.5}]},
        {"encoder.lora.rank": 4, "phases": [{"share": 0.5}, {**HEADS_ALONE, "share": 0.5}]},
        {**SMART, "objective.smart.noise_std": 0.0, "objective.smart.step_size": 0.0},
        {"objective.smart.noise_std": 0.0, "objective.smart.weights.*": 0.0},
        {**SMART, "objective.smart.weights.*": 0.0, "objective.smart.weights.sts": 1.0},
        {**SMART, "objective.smart.batch_share": 0.5, "data.batch_size": 2},
        {"objective.smart.batch_share": 0.5, "data.batch_size": 1},
        {"balancing.loss_weights.*": 0.0, "balancing.loss_weights.sts": 0.1},
        {"phases": [{**WHOLE_DATASETS, "tasks": ["qqp"], "round_share": {"qqp": 0.5}}]},
        {**READ_APART, "heads.*.dropout": 0.5, "heads.sts.kind": "cosine"},
    ],
)
def test_what_makes_sense_together_is_not(assignments: dict[str, Any]) -> None:
    TrialConfig().override(assignments)


@pytest.mark.parametrize(
    ("share", "batch_size", "expected"), [(1.0, 7, 7), (0.5, 7, 4), (0.1, 30, 3), (0.7, 10, 7), (1e-12, 8, 1), (0.5, 1, 1)]
)
def test_smarts_share_of_a_batch_is_rounded_up(share: float, batch_size: int, expected: int) -> None:
    assert SmartConfig(batch_share=share).num_examples(batch_size) == expected


def test_what_is_not_said_of_a_task_is_the_default() -> None:
    config = TrialConfig.parse({"heads": {"sts": {"kind": "mlp"}}, "balancing": {"loss_weights": {"qqp": 2.0}}, "phases": [{}]})
    assert {name: head.kind for name, head in config.heads.items()} == {"sst": "linear", "qqp": "linear", "sts": "mlp"}
    assert config.balancing.loss_weights == {"sst": 1.0, "qqp": 2.0, "sts": 1.0}
    assert config.objective.smart.weights == {"sst": 1.0, "qqp": 1.0, "sts": 1.0}
    assert config.phases[0].tasks == ("sst", "qqp", "sts")


def test_a_config_of_other_tasks() -> None:
    movies = SST.model_copy(update={"name": "movies", "file_stem": "movies"})
    tasks = TaskSet(tasks=(STS, movies))
    config = TrialConfig.parse({"tasks": tasks.model_dump(mode="json"), "heads": {"movies": {"dropout": 0.0}}})
    assert config.tasks == tasks
    assert list(config.heads) == list(config.balancing.loss_weights) == list(config.phases[0].tasks) == ["sts", "movies"]
    assert TrialConfig.parse(yaml.safe_load(yaml.safe_dump(config.to_tree()))) == config
    with pytest.raises(ConfigError, match=r"heads: 'sst' is no task \(did you mean sts\?\); tasks are sts, movies"):
        TrialConfig.parse({"tasks": tasks.model_dump(mode="json"), "heads": {"sst": {}}})


def test_an_unknown_task_is_told_with_the_other_mistakes() -> None:
    with pytest.raises(ConfigError) as error:
        TrialConfig.parse({"seed": "x", "heads": {"nli": {}}})
    assert len(error.value.problems) == 2


def test_what_is_no_mapping_is_no_config() -> None:
    with pytest.raises(ConfigError, match="a config is a mapping of keys to values, but got list"):
        TrialConfig.parse([])  # type: ignore[arg-type]


@settings(max_examples=30)
@given(tree=TREES)
def test_a_written_config_is_read_back(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("yaml") / "c.yaml"
    config = TrialConfig.parse(tree)
    write_yaml(config.to_tree(), path)
    assert TrialConfig.parse(read_yaml(path)) == config
    assert list(read_yaml(path)) == list(TrialConfig.model_fields)


def test_the_defaults_are_the_papers_fixed_setting() -> None:
    config = TrialConfig()
    assert (config.optimizer.lr, config.data.batch_size, config.optimizer.name) == (1e-5, 16, "adamw")
    assert not config.objective.smart.enabled
    assert DataConfig().source == "sample"


def test_a_config_needs_no_torch() -> None:
    code = "import sys, trainables.config, search_spaces.registry; sys.exit(bool({'torch', 'ray', 'optuna'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
