"""Combinations that make no sense: options that a task, or the rest of the config, cannot have, each refused with its reason."""

from collections.abc import Iterator, Mapping, Sequence

from trainables.config_parts import (
    BalancingConfig,
    DataConfig,
    EncoderConfig,
    HeadConfig,
    ObjectiveConfig,
    PhaseConfig,
    SmartConfig,
)
from trainables.tasks import Task, TaskSet


def misfits(
    *,
    tasks: TaskSet,
    data: DataConfig,
    encoder: EncoderConfig,
    heads: Mapping[str, HeadConfig],
    objective: ObjectiveConfig,
    balancing: BalancingConfig,
    phases: Sequence[PhaseConfig],
) -> list[str]:
    """A sentence for each combination in a config's parts, filled in for all tasks, that makes no sense."""
    out: list[str] = []
    for task in tasks.tasks:
        out += _of_head(task, heads[task.name], encoder)
        out += _of_losses(task, objective, encoder)
    out += _of_encoder(tasks, encoder, heads)
    for number, phase in enumerate(phases):
        out += _of_phase(f"phases.{number}", phase, encoder, heads, balancing)
    out += _of_all_phases(phases, tasks, encoder, balancing)
    out += _of_weights([task for task in tasks.names if any(task in phase.tasks for phase in phases)], objective, balancing)
    out += _of_smart_share(objective.smart, data.batch_size)
    out += _of_data(data)
    out += _of_micro_batches(data, objective)
    return out


def _reads_apart(task: Task, encoder: EncoderConfig) -> bool:
    return task.is_pair and encoder.pair_encoding == "bi"


def _why_not_apart(task: Task) -> str:
    return f"{task.name} {'needs encoder.pair_encoding=bi, but got cross' if task.is_pair else 'is a task of single sentences'}"


def _of_head(task: Task, head: HeadConfig, encoder: EncoderConfig) -> Iterator[str]:
    where = f"heads.{task.name}"
    if head.of_two_sentences and not _reads_apart(task, encoder):
        yield f"{where}.kind={head.kind} compares two sentences that are read apart: {_why_not_apart(task)}"
    if head.concatenation == "u_v" and not _reads_apart(task, encoder):
        yield f"{where}.concatenation=u_v is of two sentences that are read apart: {_why_not_apart(task)}"
    if head.kind in ("cosine", "compress_expand") and task.target != "score":
        yield f"{where}.kind={head.kind} gives a score, but {task.name} asks for {task.target}"
    if head.kind == "conv1d" and _reads_apart(task, encoder):
        yield f"{where}.kind=conv1d reads one sequence, but pairs are read apart (encoder.pair_encoding=bi)"
    if head.output == "relu" and head.kind in ("cosine", "compress_expand"):
        yield f"{where}.output=relu changes nothing: kind={head.kind} never falls below the lowest label"
    if head.output != "identity" and task.target != "score":
        yield f"{where}.output={head.output} is for scores, but {task.name} asks for {task.target}"


def _of_losses(task: Task, objective: ObjectiveConfig, encoder: EncoderConfig) -> Iterator[str]:
    loss = objective.losses[task.name]
    if loss == "ordered_cross_entropy" and task.target != "classes":
        yield f"objective.losses.{task.name}={loss} is for ordered classes, but {task.name} asks for {task.target}"
    of_pairs = {"contrastive": objective.contrastive.weights, "ranking": objective.ranking.weights}
    for name, weights in of_pairs.items():
        if weights[task.name] and not (_reads_apart(task, encoder) and task.target != "classes"):
            yield (
                f"objective.{name}.weights.{task.name} must be 0 unless {task.name} is a task of pairs with yes or no or a "
                f"score, read apart (encoder.pair_encoding=bi), but got {weights[task.name]:g}"
            )


def _of_encoder(tasks: TaskSet, encoder: EncoderConfig, heads: Mapping[str, HeadConfig]) -> Iterator[str]:
    if len({task.is_pair for task in tasks.tasks}) == 1:
        kind = "pairs" if tasks.tasks[0].is_pair else "single sentences"
        for key in ("copies", "cls_tokens"):
            if getattr(encoder, key) in ("singles_and_pairs", 2):
                yield (
                    f"encoder.{key}={getattr(encoder, key)} is for tasks of single sentences beside tasks of pairs, "
                    f"but all tasks are of {kind}"
                )
    pooled = {_pooling(heads[task.name], encoder) for task in tasks.tasks if heads[task.name].kind != "conv1d"}
    if encoder.cls_tokens == 2 and "cls" not in pooled:
        yield "encoder.cls_tokens=2 changes nothing: no task has pooling cls"


def _of_phase(
    where: str, phase: PhaseConfig, encoder: EncoderConfig, heads: Mapping[str, HeadConfig], balancing: BalancingConfig
) -> Iterator[str]:
    if phase.round_share and phase.task_schedule != "whole_dataset_round_robin":
        yield f"{where}.round_share is for task_schedule=whole_dataset_round_robin, but got {phase.task_schedule}"
    if phase.batches_per_epoch is not None and phase.task_schedule != "annealed":
        yield f"{where}.batches_per_epoch is for task_schedule=annealed, but got {phase.task_schedule}"
    for name in phase.round_share:
        if name not in phase.tasks:
            yield f"{where}.round_share.{name} changes nothing: the tasks of this phase are {', '.join(phase.tasks)}"
    without = [n for n in phase.tasks if heads[n].kind == "cosine" and _pooling(heads[n], encoder) != "attention"]
    if phase.trainable == "heads" and without:
        yield f"{where}.trainable=heads: the head of {', '.join(without)} (kind=cosine) has no weights that could train"
    if phase.trainable == "heads" and phase.frozen_layers:
        yield f"{where}.frozen_layers={phase.frozen_layers} changes nothing beside trainable=heads, which freezes all layers"
    is_mixed = len(phase.tasks) == 1 or phase.task_schedule == "sum_of_losses"
    if balancing.gradients == "pcgrad" and not is_mixed:
        yield (
            f"balancing.gradients=pcgrad needs steps of several tasks, {where}.task_schedule=sum_of_losses, "
            f"but got {phase.task_schedule}"
        )


def _of_all_phases(
    phases: Sequence[PhaseConfig], tasks: TaskSet, encoder: EncoderConfig, balancing: BalancingConfig
) -> Iterator[str]:
    mixed = [phase for phase in phases if len(phase.tasks) > 1 and phase.task_schedule == "sum_of_losses"]
    if balancing.gradients == "pcgrad" and all(len(phase.tasks) == 1 for phase in phases):
        yield "balancing.gradients=pcgrad changes nothing: each phase trains one task alone"
    if balancing.gradients == "pcgrad" and mixed and all(phase.trainable == "heads" for phase in mixed):
        yield "balancing.gradients=pcgrad changes nothing: steps of several tasks train heads alone, which share no weights"
    if balancing.gradients == "pcgrad" and mixed and not any(_share_an_encoder(phase, tasks, encoder) for phase in mixed):
        yield (
            f"balancing.gradients=pcgrad changes nothing beside encoder.copies={encoder.copies}: no two tasks "
            "of one step share an encoder"
        )
    if encoder.lora.rank and all(phase.trainable == "heads" for phase in phases):
        yield f"encoder.lora.rank={encoder.lora.rank} changes nothing: each phase trains heads alone (phases.*.trainable=heads)"


def _share_an_encoder(phase: PhaseConfig, tasks: TaskSet, encoder: EncoderConfig) -> bool:
    kinds = [task.is_pair for task in tasks.tasks if task.name in phase.tasks]
    return encoder.copies == "one" or len(set(kinds)) < len(kinds)


def _of_weights(trained: Sequence[str], objective: ObjectiveConfig, balancing: BalancingConfig) -> Iterator[str]:
    """Of SMART and of the losses, for the tasks that train in some phase."""
    smart, named = objective.smart, ", ".join(trained)
    if smart.enabled and smart.step_size and not smart.noise_std:
        yield (
            "objective.smart: noise_std > 0 must hold where step_size > 0, for without noise there is no direction to step in, "
            f"but got noise_std={smart.noise_std:g}, step_size={smart.step_size:g}"
        )
    if smart.enabled and not any(smart.weights[task] for task in trained):
        yield f"objective.smart.enabled=true changes nothing: objective.smart.weights is 0 for each task that trains ({named})"
    if not any(balancing.loss_weights[task] for task in trained):
        yield f"balancing.loss_weights: one > 0 must stand there, but got 0 for each task that trains ({named})"


def _of_smart_share(smart: SmartConfig, batch_size: int) -> Iterator[str]:
    if smart.enabled and smart.batch_share < 1 and smart.num_examples(batch_size) == batch_size:
        yield (
            f"objective.smart.batch_share={smart.batch_share:g} changes nothing: of data.batch_size={batch_size} examples, "
            "rounded up, it is all"
        )


def _of_data(data: DataConfig) -> Iterator[str]:
    for name, files in data.more_rows.items():
        twice = sorted({file for file in files if files.count(file) > 1})
        if twice:
            yield f"data.more_rows.{name}: each file may stand once, but got {', '.join(twice)} more than once"


def _of_micro_batches(data: DataConfig, objective: ObjectiveConfig) -> Iterator[str]:
    """A loss that compares the examples of a batch with each other is another one in parts of it."""
    ranked = [task for task, weight in objective.ranking.weights.items() if weight]
    if ranked and data.micro_batch_size is not None and data.micro_batch_size < data.batch_size:
        yield (
            f"data.micro_batch_size={data.micro_batch_size} < data.batch_size={data.batch_size}: objective.ranking looks for "
            f"partners in the whole batch, so its weights must be 0, but {', '.join(ranked)} has another one"
        )


def _pooling(head: HeadConfig, encoder: EncoderConfig) -> str:
    return head.pooling or encoder.pooling
