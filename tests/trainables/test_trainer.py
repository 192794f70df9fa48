import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.balancing.task_schedules import TASK_SCHEDULES
from trainables.config import TrialConfig
from trainables.data.resident import ResidentTable, ResidentTokens
from trainables.evaluation import evaluate, pearson
from trainables.model.files import load_model
from trainables.outcomes import Outcome
from trainables.parts import ConfigError
from trainables.steps import Metrics
from trainables.tasks import CS224N
from trainables.trainer import SEEDS, Diverged, Trainer

CLOCK = ("train_seconds", "eval_seconds", "examples_per_second", "tokens_per_second")
CASES: dict[str, dict[str, Any]] = {
    "round_robin": {},
    "sum_of_losses": {"phases.0.task_schedule": "sum_of_losses", "encoder.pair_encoding": "bi", "encoder.pooling": "mean"},
    "whole_dataset": {"phases.0.task_schedule": "whole_dataset_round_robin", "budget_examples": 90, "heads.*.kind": "mlp"},
    "random": {"phases.0.task_schedule": "random", "optimizer.name": "lion"},
    "annealed": {"phases.0.task_schedule": "annealed", "balancing.weighting": "uncertainty"},
    "pcgrad": {
        "phases.0.task_schedule": "sum_of_losses",
        "budget_examples": 60,
        "balancing.gradients": "pcgrad",
        "balancing.weighting": "uncertainty",
        "objective.smart.enabled": True,
    },
    "smart": {"objective.smart.enabled": True, "optimizer.lr_schedule": "linear"},
    "smart_on_a_part": {
        "objective.smart": {"enabled": True, "batch_share": 0.3},
        "phases": [{"share": 0.5, "frozen_layers": 1}, {"share": 0.5, "task_schedule": "sum_of_losses"}],
    },
    "frozen_then_free": {
        "encoder.pooling": "attention",
        "heads.sst": {"kind": "conv1d"},
        "phases": [{"share": 0.5, "frozen_layers": 1}, {"share": 0.5, "lr": 1e-4}],
    },
    "buckets": {"data.bucket_window": 3, "encoder.pair_encoding": "bi", "phases.0.tasks": ["qqp", "sts"], "budget_examples": 120},
    "bregman": {"objective.bregman": {"mu": 2.0, "beta": 0.5, "late_beta": 0.8}, "objective.smart.divergence": "kl"},
    "contrastive": {
        "encoder.pair_encoding": "bi",
        "objective.contrastive.weights": {"qqp": 0.5, "sts": 0.5},
        "objective.losses.sst": "ordered_cross_entropy",
        "objective.smart": {"enabled": True, "dropout": "off"},
    },
    "two_phases": {
        "optimizer.lr_schedule": "cosine",
        "optimizer.warmup_fraction": 0.2,
        "phases": [
            {"tasks": ["qqp"], "share": 0.5},
            {"tasks": ["sst", "sts"], "share": 0.5, "trainable": "heads", "lr": 1e-2, "task_schedule": "sum_of_losses"},
        ],
    },
}


TWO_ENCODERS = {"encoder.copies": "singles_and_pairs"}
OTHER_ENCODERS: dict[str, dict[str, Any]] = {
    "two_encoders": {**TWO_ENCODERS, "phases.0.task_schedule": "sum_of_losses"},
    "two_cls_tokens": {"encoder.cls_tokens": 2, "encoder.pair_encoding": "bi"},
    "lora": {
        "encoder.lora": {"rank": 2, "targets": "all"},
        **TWO_ENCODERS,
        "objective.bregman.mu": 2.0,
        "phases": [{"share": 0.4, "frozen_layers": 1}, {"share": 0.6}],
    },
}
ROUNDS = {"task_schedule": "whole_dataset_round_robin"}
SOME_ROWS_A_ROUND: dict[str, Any] = {
    "phases": [
        {**ROUNDS, "tasks": ["qqp"], "share": 0.25, "round_share": {"qqp": 0.1}},
        {**ROUNDS, "share": 0.75, "round_share": {"sst": 0.1, "qqp": 0.15, "sts": 0.1}},
    ]
}
"""Of 24 rows 3 a round, and then 3, 4 and 3: after 5 and 5 steps of one row each stands in the middle of one."""


def run(trainer: Trainer, until: int = 10**6) -> list[Metrics]:
    while not trainer.done and len(trainer.history) < until:
        trainer.advance()
    return numbers(trainer)


def numbers(trainer: Trainer) -> list[Metrics]:
    """The reports without what a clock measures."""
    return [{key: value for key, value in metrics.items() if key not in CLOCK} for metrics in trainer.history]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(tensor, two[name]) for name, tensor in one.items())


@pytest.mark.parametrize("case", CASES)
def test_stopped_saved_loaded_and_continued_equals_never_stopped(small_config: TrialConfig, tmp_path: Path, case: str) -> None:
    config = small_config.override(CASES[case])
    whole = Trainer(config)
    curve = run(whole)
    for stop in range(config.num_reports):
        first = Trainer(config)
        run(first, until=stop)
        first.save(tmp_path / f"{stop}")
        run(first, until=stop + 1)  # what happens after saving must not matter
        second = Trainer(config)
        run(second, until=1)  # nor what happened before loading
        second.load(tmp_path / f"{stop}")
        assert numbers(second) == curve[:stop]
        assert run(second) == curve
        assert equal(weights(second), weights(whole))


@pytest.mark.parametrize("case", [*OTHER_ENCODERS, "some_rows_a_round", "buckets_of_some_rows_a_round"])
def test_20_steps_resumed_in_the_middle_equal_20_steps(small_config: TrialConfig, tmp_path: Path, case: str) -> None:
    num_examples = 60 if case == "two_encoders" else 20
    twenty = {"data.batch_size": 1, "budget_examples": num_examples, "num_reports": 2, "early_dev_share": 0.5}
    buckets = {"data.batch_size": 5, "budget_examples": 100, "data.bucket_window": 3} if case.startswith("buckets") else {}
    config = small_config.override({**twenty, **OTHER_ENCODERS.get(case, SOME_ROWS_A_ROUND), **buckets})
    whole = Trainer(config)
    run(whole, until=1)
    whole.save(tmp_path)
    curve = run(whole)
    assert whole.position.step == 20
    resumed = Trainer(config)
    resumed.load(tmp_path)
    assert run(resumed) == curve
    assert equal(weights(resumed), weights(whole))


def test_two_trainers_with_another_in_between_give_the_same_curve(small_config: TrialConfig) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    one = Trainer(small_config)
    curve = run(one)
    run(Trainer(small_config.override({"seed": 8, "num_threads": 2, "objective.smart.enabled": True})), until=1)
    two = Trainer(small_config)
    assert run(two) == curve
    assert equal(weights(one), weights(two))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_taking_turns_step_by_step_changes_nothing(small_config: TrialConfig) -> None:
    one, other = Trainer(small_config), Trainer(small_config.override({"seed": 8}))
    while not one.done:
        one.advance()
        other.advance()
    assert numbers(one) == run(Trainer(small_config))


@pytest.mark.parametrize("pair_encoding", ["cross", "bi"])
def test_tokens_that_lie_on_the_device_train_the_same_model(
    pair_encoding: str, small_config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config.override({"encoder.pair_encoding": pair_encoding})
    whole = Trainer(config)
    curve = run(whole)

    def table(self: ResidentTokens, task: str, split: str) -> ResidentTable:
        return ResidentTable.of(self._store.table(task, split), self._device)

    monkeypatch.setattr(ResidentTokens, "table", table)
    resident = Trainer(config)
    assert run(resident) == curve
    assert equal(weights(resident), weights(whole))


def test_frozen_layers_are_the_same_bits_after_20_steps_and_have_no_state(small_config: TrialConfig) -> None:
    smart = {"objective.smart.enabled": True, "budget_examples": 80, "num_reports": 1}
    trainer = Trainer(small_config.override({**smart, "phases.0.frozen_layers": 1}))
    before = weights(trainer)
    run(trainer)
    assert trainer.position.step == 20
    for name, weight in trainer.model.named_parameters():
        moves = name.startswith(("heads.", "encoder.layers.1."))
        assert torch.equal(weight, before[name]) != moves, name
        assert (weight in trainer.optimizer.state) == moves, name


@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_an_encoder_whose_tasks_have_no_turn_is_the_same_bits(small_config: TrialConfig, optimizer: str) -> None:
    decays = {"optimizer.name": optimizer, "optimizer.weight_decay": 0.5, "budget_examples": 80, "num_reports": 1}
    trainer = Trainer(small_config.override({**decays, **TWO_ENCODERS, "phases.0.tasks": ["sst"]}))
    before = weights(trainer)
    run(trainer)
    assert trainer.position.step == 20
    for name, weight in trainer.model.named_parameters():
        moves = name.startswith(("encoder.", "heads.sst.")) and "pooler" not in name
        assert torch.equal(weight, before[name]) != moves, name
        assert (weight in trainer.optimizer.state) == moves, name


def test_pcgrad_holds_tasks_apart_that_share_no_encoder(small_config: TrialConfig) -> None:
    joint = {"phases.0.task_schedule": "sum_of_losses", "balancing.gradients": "pcgrad", "budget_examples": 24, "num_reports": 1}
    three = Trainer(small_config.override({**TWO_ENCODERS, **joint})).advance()
    assert three["gradient_change_sst"] == 0.0
    assert three["conflict_share"] < 0.34  # of three pairs of tasks one shares an encoder


@pytest.mark.parametrize("frozen_layers", [0, 1])
def test_lora_moves_adapters_and_heads_alone_through_20_steps(small_config: TrialConfig, frozen_layers: int) -> None:
    lora = {"encoder.lora": {"rank": 2, "targets": "all"}, "phases.0.frozen_layers": frozen_layers, **TWO_ENCODERS}
    trainer = Trainer(small_config.override({**lora, "budget_examples": 80, "num_reports": 1}))
    before = weights(trainer)
    run(trainer)
    assert trainer.position.step == 20
    for name, weight in trainer.model.named_parameters():
        adapts = ".lora_" in name and int(name.split(".")[2]) >= frozen_layers
        moves = name.startswith("heads.") or adapts
        assert torch.equal(weight, before[name]) != moves, name
        assert (weight in trainer.optimizer.state) == moves, name
        assert weight.requires_grad == moves, name


def test_what_lora_saves_scores_what_it_scored(small_config: TrialConfig, tmp_path: Path) -> None:
    lora = {"encoder.lora": {"rank": 3, "alpha": 7.0}, **TWO_ENCODERS, "encoder.cls_tokens": 2}
    trainer = Trainer(small_config.override(lora))
    run(trainer)
    trainer.save(tmp_path)
    config, model = load_model(tmp_path)
    assert config == trainer.config
    for split in ("dev", "train"):
        scored, loaded = evaluate(trainer.model, trainer.store, split), evaluate(model, trainer.store, split)
        assert all(np.array_equal(scored.outputs[task], loaded.outputs[task]) for task in CS224N.by_name)


def drawn(config: TrialConfig, patch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """By the name of each seed what a trainer draws from it before and in its first step."""
    orders: list[Any] = []

    def unprojected(gramian: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        orders.append(rng.permutation(100).tolist())
        return torch.eye(len(gramian), dtype=gramian.dtype)

    patch.setattr("trainables.balancing.gradients.projections", unprojected)
    trainer = Trainer(config)
    [phase] = trainer.config.phases
    turns = [replace(trainer._turn(phase), step=step) for step in range(30)]
    out = {
        "init": [head.output.weight.tolist() for head in trainer.model.heads.values()],
        "order": [trainer._next_batch(task).token_ids.tolist() for task in CS224N.names],
        "dropout": [trainer.masks.get_state().tolist()],
        "noise": [trainer.noise.get_state().tolist()],
        "turns": [[TASK_SCHEDULES["random"](turn) for turn in turns]],
    }
    trainer._step()
    return {**out, "projections": orders}


def test_another_seed_draws_all_that_is_drawn_anew(small_config: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config.override({"phases.0.task_schedule": "sum_of_losses", "balancing.gradients": "pcgrad"})
    one, again, other = (drawn(config.override({"seed": seed}), monkeypatch) for seed in (7, 7, 8))
    assert one == again
    assert set(one) == set(SEEDS)
    for name, values in one.items():
        assert values
        assert all(mine != theirs for mine, theirs in zip(values, other[name], strict=True)), name


def test_another_seed_gives_another_curve(small_config: TrialConfig) -> None:
    assert run(Trainer(small_config)) != run(Trainer(small_config.override({"seed": 8})))


def test_reports_before_the_last_are_scored_on_part_of_dev(small_config: TrialConfig) -> None:
    trainer = Trainer(small_config.override({"early_dev_share": 0.5}))
    assert [trainer.advance()["dev_share"] for _ in range(3)] == [0.5, 0.5, 1.0]
    assert trainer.done


def test_a_report_says_what_it_promises(small_config: TrialConfig) -> None:
    trainer = Trainer(small_config)
    metrics = trainer.advance()
    keys = {"report", "budget", "examples", "tokens", "score", "mean_score", "sst_accuracy", "qqp_accuracy", "sts_pearson"}
    keys |= {"loss", "loss_sst", "loss_qqp", "loss_sts", "grad_norm", "lr", "dev_share", *CLOCK}
    assert set(metrics) == keys
    assert all(type(value) in (int, float) and math.isfinite(value) for value in metrics.values())
    assert (metrics["report"], metrics["budget"], metrics["examples"], metrics["lr"]) == (1, 12, 12, 1e-3)
    assert metrics["loss"] == pytest.approx((metrics["loss_sst"] + metrics["loss_qqp"] + metrics["loss_sts"]) / 3)
    assert json.loads(json.dumps(metrics)) == metrics


def test_reports_come_when_their_examples_are_seen(small_config: TrialConfig) -> None:
    curve = run(Trainer(small_config.override({"budget_examples": 50, "num_reports": 4})))
    assert [metrics["budget"] for metrics in curve] == [12, 25, 38, 50]
    assert [metrics["examples"] for metrics in curve] == [12, 28, 40, 52]


def test_a_step_over_two_reports_gives_both(small_config: TrialConfig) -> None:
    curve = run(Trainer(small_config.override({"budget_examples": 6, "num_reports": 6})))
    assert [metrics["examples"] for metrics in curve] == [4, 4, 4, 4, 8, 8]
    assert curve[1] | {"report": 1, "budget": 1} == {key: curve[0][key] for key in curve[1]}


def test_after_the_last_report_there_is_none(small_config: TrialConfig) -> None:
    trainer = Trainer(small_config)
    run(trainer)
    with pytest.raises(RuntimeError, match="all 3 reports are given"):
        trainer.advance()


def test_the_budget_is_one_pass_over_the_tasks_that_train(small_config: TrialConfig) -> None:
    tree = small_config.to_tree() | {"budget_examples": None}
    assert Trainer(TrialConfig.parse(tree)).config.budget_examples == 3 * 24
    tree["phases"] = [{"tasks": ["sst"], "share": 0.5}, {"tasks": ["sst", "qqp"], "share": 0.5}]
    assert Trainer(TrialConfig.parse(tree)).config.budget_examples == 2 * 24


def test_phases_train_their_own_tasks_and_what_may_move(small_config: TrialConfig) -> None:
    trainer = Trainer(small_config.override({**CASES["two_phases"], "num_reports": 2}))
    start = weights(trainer)
    first = trainer.advance()
    assert {"loss_qqp"} == {key for key in first if key.startswith("loss_")}
    middle = weights(trainer)
    assert moved(start, middle) >= {"encoder.layers.0.query.weight", "heads.qqp.output.weight"}
    second = trainer.advance()
    assert {"loss_sst", "loss_sts"} == {key for key in second if key.startswith("loss_")}
    assert moved(middle, weights(trainer)) == {
        f"heads.{task}.output.{kind}" for task in ("sst", "sts") for kind in ("weight", "bias")
    }


def moved(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in one if not torch.equal(one[name], two[name])}


def test_each_phase_runs_its_own_course_of_the_rate(small_config: TrialConfig) -> None:
    config = small_config.override(
        {**CASES["two_phases"], "budget_examples": 64, "num_reports": 16, "optimizer.lr_schedule": "linear"}
    )
    rates = [metrics["lr"] for metrics in run(Trainer(config)) if metrics["examples"] == metrics["budget"]]
    assert rates[0] == pytest.approx(1e-3 * (2 / 32) / 0.2)
    assert rates[7] == pytest.approx(1e-3 * (2 / 32) / 0.8)
    assert max(rates[8:]) > 5e-3


def test_training_learns(small_config: TrialConfig) -> None:
    longer = {"budget_examples": 800, "num_reports": 4, "optimizer.lr": 3e-3, "data.batch_size": 8}
    losses = [metrics["loss"] for metrics in run(Trainer(small_config.override(longer)))]
    assert losses[-1] < 0.8 * losses[0]


def test_divergence_names_step_and_task(small_config: TrialConfig) -> None:
    trainer = Trainer(small_config)
    trainer.advance()
    with torch.no_grad():
        trainer.model.heads["qqp"].output.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="step 5: the loss of qqp is nan"):
        trainer.advance()


def test_a_gradient_that_is_not_finite_is_found_before_the_step(small_config: TrialConfig) -> None:
    trainer = Trainer(small_config)
    trainer.model.heads["sst"].output.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weights(trainer)
    with pytest.raises(Diverged, match=r"step 1: the gradient's norm \(sst\) is (inf|nan)"):
        trainer.advance()
    assert equal(before, weights(trainer))


def test_predictions_that_are_not_finite_are_no_score(small_config: TrialConfig) -> None:
    trainer = Trainer(small_config.override({"phases": [{"tasks": ["sst"]}]}))
    with torch.no_grad():
        trainer.model.heads["qqp"].output.bias.fill_(float("nan"))
    with pytest.raises(Diverged, match="predictions of dev are not finite"):
        trainer.advance()


def test_a_loss_that_explodes_beside_a_finite_score_ends_the_trial(small_config: TrialConfig) -> None:
    explodes = {"optimizer.lr": 1.0, "optimizer.head_lr_scale": 1e4, "optimizer.max_grad_norm": None}
    with pytest.raises(Diverged, match=r"step \d+: the loss of sts has exploded: .*, after [\d.]+ in its first step"):
        Trainer(small_config.override({**explodes, "phases": [{"tasks": ["sts"]}]})).advance()


def test_what_losses_were_at_first_is_part_of_a_checkpoint(small_config: TrialConfig, tmp_path: Path) -> None:
    trainer, again = Trainer(small_config), Trainer(small_config)
    trainer.advance()
    assert set(trainer.first_losses) == set(small_config.tasks.names)
    trainer.save(tmp_path)
    at_first = dict(trainer.first_losses)
    again.load(tmp_path)
    assert again.first_losses == at_first
    again.advance()
    assert again.first_losses == at_first
    again.first_losses = dict.fromkeys(at_first, 1e-9)
    with torch.no_grad():
        again.model.heads["sts"].output.bias.fill_(1e3)
    with pytest.raises(Diverged, match="the loss of sts has exploded"):
        again.advance()


def test_loading_something_else_is_refused_by_name(small_config: TrialConfig, tmp_path: Path) -> None:
    trainer = Trainer(small_config)
    trainer.save(tmp_path)
    with pytest.raises(ValueError, match=r"config optimizer\.lr: 0\.001, 0\.5"):
        Trainer(small_config.override({"optimizer.lr": 0.5})).load(tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    state["made_from"]["data"]["quora-train.csv"] = "changed"
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"data\.quora-train\.csv: 'changed', '[0-9a-f]{64}'"):
        trainer.load(tmp_path)


def test_the_sum_of_losses_counts_a_batch_of_each_task(small_config: TrialConfig) -> None:
    trainer = Trainer(small_config.override(CASES["sum_of_losses"]))
    trainer.advance()
    assert trainer.position.taken == dict.fromkeys(CS224N.by_name, 4)
    assert trainer.position.step == 1


def test_pcgrad_reports_what_it_did(small_config: TrialConfig) -> None:
    trainer = Trainer(small_config.override({**CASES["pcgrad"], "budget_examples": 120}))
    curve = run(trainer)
    keys = {"conflict_share"} | {f"gradient_change_{task}" for task in CS224N.by_name}
    assert all(keys <= set(metrics) for metrics in curve)
    assert all(0 <= metrics["conflict_share"] <= 1 for metrics in curve)
    changes = [metrics[f"gradient_change_{task}"] for metrics in curve for task in CS224N.by_name]
    assert all(-1 <= change <= 1e-6 for change in changes)
    assert (min(changes) < -1e-6) == any(metrics["conflict_share"] > 0 for metrics in curve)
    assert any(metrics["conflict_share"] > 0 for metrics in curve)


def test_passes_apart_give_the_gradient_of_the_joint_one_where_nothing_is_projected(
    small_config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {"phases.0.task_schedule": "sum_of_losses", "num_reports": 1, "budget_examples": 12, "optimizer.max_grad_norm": None}
    off = {
        "encoder.dropout": 0.0,
        **{f"heads.{task}.dropout": 0.0 for task in CS224N.by_name},
    }  # masks are drawn in another order
    joint, apart = (
        Trainer(small_config.override({**same, **off, "balancing.gradients": gradients})) for gradients in ("sum", "pcgrad")
    )
    monkeypatch.setattr("trainables.balancing.gradients.projections", lambda gramian, rng: torch.eye(3, dtype=torch.float64))
    first, second = joint.advance(), apart.advance()
    assert second["loss"] == pytest.approx(first["loss"], rel=1e-5)
    assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-4)
    assert set(second) - set(first) == {"conflict_share", *(f"gradient_change_{task}" for task in CS224N.by_name)}


def test_learnt_weights_of_losses_move_for_tasks_with_a_turn_alone(small_config: TrialConfig, tmp_path: Path) -> None:
    phases = {"phases": [{"tasks": ["sst", "sts"]}], "balancing.weighting": "uncertainty", "optimizer.lr": 1e-5}
    trainer = Trainer(small_config.override(phases))
    metrics = trainer.advance()
    learnt = {name: value.item() for name, value in trainer.loss_weights.log_variances.items()}
    assert learnt["qqp"] == 0.0
    assert learnt["sst"] > 5e-3  # Adam's steps are about the rate, 1e-2 whatever the model's; the losses are above 1/2
    assert learnt["sts"] > 5e-3
    factors = {"sst": math.exp(-learnt["sst"]), "qqp": 1.0, "sts": 0.5 * math.exp(-learnt["sts"])}
    assert {task: metrics[f"learnt_weight_{task}"] for task in factors} == pytest.approx(factors)
    trainer.save(tmp_path)
    assert (tmp_path / "balancing.safetensors").is_file()


def test_the_rate_of_learnt_weights_follows_the_schedule_and_no_phase(small_config: TrialConfig) -> None:
    falls = {"balancing.weighting": "uncertainty", "optimizer.lr_schedule": "linear", "phases.0.lr": 0.5}
    trainer = Trainer(small_config.override({**falls, "optimizer.max_grad_norm": 1e-3}))
    trainer.advance()
    (group,) = (group for group in trainer.optimizer.param_groups if "peak_lr" in group)
    assert group["lr"] == pytest.approx(1e-2 * (1 - 10 / 36))


def test_a_checkpoint_whose_learnt_weights_had_another_rate_is_refused(small_config: TrialConfig, tmp_path: Path) -> None:
    trainer = Trainer(small_config.override({"balancing.weighting": "uncertainty"}))
    trainer.save(tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    del state["made_from"]["loss_weights"]  # as it was while they trained at the heads' rate
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"loss_weights: None, \{'peak_lr': '0\.01'\}"):
        trainer.load(tmp_path)


def test_learnt_weights_have_no_part_in_clipping(small_config: TrialConfig) -> None:
    trainer = Trainer(small_config.override({"balancing.weighting": "uncertainty", "optimizer.max_grad_norm": 1e-6}))
    trainer.advance()
    squares = sum(float(weight.grad.square().sum()) for weight in trainer.model.parameters() if weight.grad is not None)
    assert squares**0.5 < 2e-6
    assert abs(trainer.loss_weights.log_variances["sts"].grad.item()) > 1e-3


def rows_taken(trainer: Trainer, task: str) -> list[int]:
    """Numbers of the rows that a trainer takes of a task in all of its steps."""
    taken: list[int] = []
    take = trainer.streams[task].take

    def spy(n: int) -> np.ndarray:
        rows = take(n)
        taken.extend(rows.tolist())
        return rows

    trainer.streams[task].take = spy
    run(trainer)
    return taken


def test_a_task_alone_sees_a_share_of_its_rows_in_each_round_drawn_anew(small_config: TrialConfig) -> None:
    part, whole = (
        rows_taken(Trainer(small_config.override({"phases": [phase], "budget_examples": 48, "num_reports": 1})), "qqp")
        for phase in ({**ROUNDS, "tasks": ["qqp"], "round_share": {"qqp": 0.5}}, {**ROUNDS, "tasks": ["qqp"]})
    )
    rounds = [part[start : start + 12] for start in range(0, 48, 12)]
    assert all(len(set(rows)) == 12 for rows in rounds), "of 24"
    assert len({frozenset(rows) for rows in rounds}) == 4
    assert rounds[:2] == [whole[:12], whole[24:36]], "the rest of each pass is skipped"


def test_rounds_over_several_tasks_draw_each_share_anew_and_leave_the_others_whole(small_config: TrialConfig) -> None:
    phase = {**ROUNDS, "tasks": ["qqp", "sts"], "round_share": {"qqp": 0.25}}
    rounds = small_config.override({"phases": [phase], "budget_examples": 96, "num_reports": 1})
    plain = small_config.override({"phases": [{"tasks": ["qqp", "sts"]}], "budget_examples": 144, "num_reports": 1})
    every_pass = rows_taken(Trainer(plain), "qqp")
    taken = rows_taken(Trainer(rounds), "qqp")
    assert taken == [row for start in (0, 24, 48) for row in every_pass[start : start + 8]], "6 rows are 2 batches of 4"
    assert rows_taken(Trainer(rounds), "sts") == rows_taken(Trainer(plain), "sts")


def test_a_share_of_the_rows_keeps_its_windows_where_its_batches_begin(small_config: TrialConfig) -> None:
    """Of 24 rows 15 a round in batches of 5: the next pass begins anew, where no multiple of 5 is."""
    phase = {**ROUNDS, "tasks": ["qqp"], "round_share": {"qqp": 0.6}}
    config = small_config.override({"phases": [phase], "budget_examples": 45, "num_reports": 1, "data.batch_size": 5})
    plain, bucketed = (rows_taken(Trainer(config.override({"data.bucket_window": window})), "qqp") for window in (1, 3))
    for start in (0, 15, 30):
        assert sorted(bucketed[start : start + 15]) == sorted(plain[start : start + 15]), "a round is one window"
    assert bucketed != plain


def test_batches_of_a_trial_hold_sequences_of_like_length(small_config: TrialConfig) -> None:
    config = small_config.override({"data.batch_size": 6, "encoder.pair_encoding": "bi"})
    spreads = []
    for window in (1, 4):
        trainer = Trainer(config.override({"data.bucket_window": window}))
        batches = [trainer._next_batch("qqp") for _ in range(4)]
        spreads.append(sum(np.ptp(batch.lengths.reshape(2, 6).max(axis=0)) for batch in batches))
    assert spreads[1] < 0.5 * spreads[0]


def test_a_checkpoint_from_before_there_were_buckets_goes_on_without(small_config: TrialConfig, tmp_path: Path) -> None:
    whole = Trainer(small_config)
    run(whole, until=1)
    whole.save(tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "bucket_window" not in line))
    older = Trainer(small_config)
    older.load(tmp_path)
    assert run(older) == run(whole)
    with pytest.raises(ValueError, match=r"config data\.bucket_window: 1, 4"):
        Trainer(small_config.override({"data.bucket_window": 4})).load(tmp_path)


def test_each_phase_draws_its_own_turns(small_config: TrialConfig) -> None:
    halves = [{"share": 0.5, "task_schedule": "random"}] * 2
    trainer = Trainer(small_config.override({"phases": halves, "budget_examples": 160, "num_reports": 40}))
    names = [next(key for key in metrics if key.startswith("loss_")) for metrics in run(trainer)]
    assert set(names) == {f"loss_{task}" for task in CS224N.by_name}
    assert names[:20] != names[20:]


def test_what_cannot_be_is_said_at_once(small_config: TrialConfig) -> None:
    with pytest.raises(ConfigError) as error:
        Trainer(small_config.override({"encoder.name": "/no/encoder", "data.source": "/no/data"}))
    assert len(error.value.problems) == 2


def test_the_confirm_part_is_scored_only_where_that_is_asked_for(small_config):
    """A trial of a search never looks at it, and one that does trains exactly as one that does not."""
    split = small_config.override({"data.confirm_share": 0.5, "early_dev_share": 0.5})
    blind, seeing = Trainer(split), Trainer(split.override({"score_confirm": True}))
    reports = [(blind.advance(), seeing.advance()) for _ in range(small_config.num_reports)]
    for one, other in reports:
        assert "confirm" not in one
        assert all(other[key] == value for key, value in one.items() if "second" not in key)
    assert ["confirm" in other for _, other in reports] == [False, False, True]
    confirm = reports[-1][1]["confirm"]
    scored = evaluate(seeing.model, seeing.store, "confirm")
    assert {key: confirm[key] for key in scored.metrics} == scored.metrics
    for name, task in split.tasks.by_name.items():
        outcome = Outcome.parse(confirm["outcomes"][name])
        assert outcome.num_rows == seeing.store.table(name, "confirm").num_rows
        found = outcome.correct.mean() if outcome.correct is not None else pearson(outcome.predicted, outcome.labels)
        assert found == pytest.approx(confirm[task.metric_key], abs=1e-12)


def test_with_all_of_dev_in_each_report_the_confirm_part_is_in_each(small_config):
    config = small_config.override({"data.confirm_share": 0.5, "early_dev_share": 1.0, "score_confirm": True})
    trainer = Trainer(config)
    assert all("confirm" in trainer.advance() for _ in range(config.num_reports))
