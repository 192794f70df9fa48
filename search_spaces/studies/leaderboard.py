"""The search of this project: what to vary for the best leaderboard score, with all that the three papers built."""

from search_spaces.domains import Categorical, Float, Int, Value
from search_spaces.space import Dimension, Space

_CROSS, _BI = {"encoder.pair_encoding": ("cross",)}, {"encoder.pair_encoding": ("bi",)}
_SMART = {"objective.smart.enabled": (True,)}
_MIXED = {"phases.0.task_schedule": ("sum_of_losses",)}
_HIDDEN = ("mlp", "conv1d", "abs_difference", "compress_expand")
_COSINES = ("cosine", "compress_expand")
_WIDTH = Int(16, 256, log=True)

_OPTIMIZER = (
    Dimension("optimizer.name", Categorical(("adamw", "lion")), source="three_headed 3.4"),
    Dimension(
        "optimizer.lr",
        Float(1e-5, 5e-4, log=True),
        when={"optimizer.name": ("adamw",)},
        source="best_fit table 7: 1e-5 to 1e-4; small encoders want more",
    ),
    Dimension(
        "optimizer.lr",
        Float(2e-6, 1e-4, log=True),
        when={"optimizer.name": ("lion",)},
        source="three_headed 3.4: 3 to 10 times lower",
        variant="lion",
    ),
    Dimension("optimizer.head_lr_scale", Float(1.0, 30.0, log=True), source="ours: new heads start from nothing"),
    Dimension("optimizer.weight_decay", Float(1e-4, 0.1, log=True), source="best_fit 5: 0.1; three_headed 4.2: 0"),
    Dimension(
        "optimizer.lr_schedule",
        Categorical(("constant", "linear", "cosine", "slanted_triangular")),
        source="the papers: constant; Howard & Ruder 2018 for the triangle",
    ),
    Dimension(
        "optimizer.warmup_fraction",
        Float(0.02, 0.3),
        when={"optimizer.lr_schedule": ("linear", "cosine", "slanted_triangular")},
        source="Devlin et al. 2019: 0.1; Howard & Ruder 2018: 0.1",
    ),
    Dimension("data.batch_size", Categorical((8, 16, 32)), source="best_fit table 7: 8, 12, 16, 32"),
)

_ENCODER = (
    Dimension("encoder.pair_encoding", Categorical(("cross", "bi")), source="studentbert 5.3, best_fit 4.2"),
    Dimension("encoder.pooling", Categorical(("cls", "mean", "max", "attention")), source="best_fit A.1"),
    Dimension("encoder.dropout", Float(0.0, 0.2), source="Devlin et al. 2019: 0.1"),
    Dimension("encoder.cls_tokens", Categorical((1, 2)), when={"encoder.pooling": ("cls",)}, source="studentbert appendix A"),
    Dimension("encoder.copies", Categorical(("one", "singles_and_pairs")), source="best_fit A.4"),
    Dimension("encoder.lora.rank", Categorical((0, 16)), source="wished for by all three; Hu et al. 2022: 1 to 64"),
)

_SCHEDULE = (
    Dimension(
        "phases.0.task_schedule",
        Categorical(("round_robin", "sum_of_losses", "whole_dataset_round_robin", "random", "annealed")),
        source="studentbert 4.1 and 4.3, best_fit 4.4, three_headed 3.2",
    ),
    Dimension("phases.0.epochs", Int(2, 10), when={"phases.0.task_schedule": ("annealed",)}, source="best_fit 4.4: E, A.2: 6"),
    Dimension("phases.0.frozen_layers", Int(0, 3), source="three_headed 3.4, surgical fine-tuning"),
    Dimension("balancing.gradients", Categorical(("sum", "pcgrad")), when=_MIXED, source="best_fit 4.5"),
    Dimension(
        "balancing.weighting", Categorical(("fixed", "uncertainty")), source="wished for by all three; Kendall et al. 2018"
    ),
    Dimension(
        "balancing.loss_weights.sst",
        Float(0.3, 3.0, log=True),
        when={"balancing.weighting": ("fixed",)},
        source="studentbert appendix A, three_headed table 1",
    ),
    Dimension(
        "balancing.loss_weights.sts",
        Float(0.3, 3.0, log=True),
        when={"balancing.weighting": ("fixed",)},
        source="studentbert appendix A, three_headed table 1",
    ),
)

_OBJECTIVE = (
    Dimension("objective.losses.sst", Categorical(("default", "ordered_cross_entropy")), source="best_fit 4.3.2"),
    Dimension("objective.smart.enabled", Categorical((False, True)), source="studentbert 4.2, best_fit 4.5"),
    Dimension(
        "objective.smart.weights.*",
        Float(0.01, 10.0, log=True),
        when=_SMART,
        source="studentbert 5.4: 0.01 to 5; best_fit tables 2 and 4: 0.5 to 10",
    ),
    Dimension(
        "objective.smart.step_size",
        Float(0.01, 1.0, log=True),
        when=_SMART,
        source="ours: the papers' 1e-3 does nothing as written, and is 1 in the code they used (docs/decisions/0003)",
    ),
    Dimension("objective.smart.dropout", Categorical(("same_masks", "off")), when=_SMART, source="best_fit 4.5: off"),
    Dimension(
        "objective.smart.divergence", Categorical(("symmetric_kl", "kl")), when=_SMART, source="studentbert 4.2; best_fit 4.5: kl"
    ),
    Dimension("objective.bregman.mu", Categorical((0.0, 0.1, 1.0)), source="studentbert 4.2 and 5.6; Jiang et al. 2020: 1"),
    Dimension("objective.contrastive.weights.qqp", Categorical((0.0, 0.1, 1.0)), when=_BI, source="best_fit 4.3.1"),
    Dimension("objective.contrastive.weights.sts", Categorical((0.0, 0.1, 1.0)), when=_BI, source="best_fit 4.3.1"),
    Dimension(
        "objective.ranking.weights.qqp",
        Categorical((0.0, 0.1, 1.0)),
        when=_BI,
        source="wished for by studentbert; Henderson 2017",
    ),
    Dimension("data.eda.copies.sst", Categorical((0, 2, 8)), source="best_fit 4.6.1: 8"),
)

_HEADS = (
    Dimension("heads.*.dropout", Float(0.0, 0.5), source="best_fit 5 and three_headed 4.2: 0.3"),
    Dimension(
        "heads.sst.kind", Categorical(("linear", "mlp", "conv1d")), source="studentbert 4.1, best_fit 4.1, three_headed 3.3"
    ),
    Dimension("heads.sst.hidden_size", _WIDTH, when={"heads.sst.kind": _HIDDEN}, source="studentbert 4.1: 32"),
    Dimension("heads.qqp.kind", Categorical(("linear", "mlp")), when=_CROSS, source="studentbert 4.1, best_fit 4.1"),
    Dimension(
        "heads.qqp.kind",
        Categorical(("linear", "mlp", "abs_difference")),
        when=_BI,
        source="three_headed 3.3",
        variant="bi",
    ),
    Dimension("heads.qqp.hidden_size", _WIDTH, when={"heads.qqp.kind": _HIDDEN}, source="studentbert 4.1: 32"),
    Dimension("heads.sts.kind", Categorical(("linear", "mlp")), when=_CROSS, source="studentbert 4.1, best_fit 4.1"),
    Dimension(
        "heads.sts.kind",
        Categorical(("linear", "mlp", "abs_difference", *_COSINES)),
        when=_BI,
        source="three_headed 3.3",
        variant="bi",
    ),
    Dimension("heads.sts.hidden_size", _WIDTH, when={"heads.sts.kind": _HIDDEN}, source="studentbert 4.1: 32"),
    Dimension(
        "heads.sts.output",
        Categorical(("identity", "relu", "sigmoid")),
        when={"heads.sts.kind": ("linear", "mlp", "abs_difference")},
        source="studentbert 4.1: relu; three_headed 3.3: sigmoid",
    ),
    Dimension(
        "heads.sts.output",
        Categorical(("identity", "sigmoid")),
        when={"heads.sts.kind": _COSINES},
        source="three_headed 3.3",
        variant="cosine",
    ),
)

_PLAIN: dict[str, Value] = {
    "optimizer.name": "adamw",
    "optimizer.lr_schedule": "constant",
    "optimizer.head_lr_scale": 1.0,
    "encoder.pair_encoding": "cross",
    "encoder.pooling": "cls",
    "encoder.dropout": 0.1,
    "encoder.cls_tokens": 1,
    "encoder.copies": "one",
    "encoder.lora.rank": 0,
    "phases.0.task_schedule": "round_robin",
    "phases.0.frozen_layers": 0,
    "balancing.gradients": "sum",
    "balancing.weighting": "fixed",
    "balancing.loss_weights.sst": 1.0,
    "balancing.loss_weights.sts": 1.0,
    "objective.losses.sst": "default",
    "objective.smart.enabled": False,
    "objective.smart.step_size": 1.0,
    "objective.bregman.mu": 0.0,
    "objective.contrastive.weights.qqp": 0.0,
    "objective.contrastive.weights.sts": 0.0,
    "objective.ranking.weights.qqp": 0.0,
    "data.eda.copies.sst": 0,
    "data.batch_size": 8,
    "heads.*.dropout": 0.3,
    "heads.sst.kind": "linear",
    "heads.qqp.kind": "mlp",
    "heads.sts.kind": "mlp",
    "heads.qqp.hidden_size": 32,
    "heads.sts.hidden_size": 32,
    "heads.sts.output": "identity",
}

_STUDENTBERT: dict[str, Value] = {
    **_PLAIN,
    "optimizer.lr": 1e-5,
    "optimizer.weight_decay": 1e-4,
    "phases.0.task_schedule": "whole_dataset_round_robin",
    "objective.smart.enabled": True,
    "objective.smart.weights.*": 3.0,
    "objective.smart.dropout": "same_masks",
    "objective.smart.divergence": "symmetric_kl",
    "heads.sts.output": "relu",
}
"""SIAR + RR (5.7), which model merging starts from; without the last phase on the SST head, at the least weight decay, not 0."""

_BEST_FIT: dict[str, Value] = {
    **_PLAIN,
    "optimizer.lr": 2e-5,
    "optimizer.weight_decay": 0.1,
    "phases.0.task_schedule": "annealed",
    "phases.0.epochs": 6,
    "heads.sst.kind": "mlp",
    "heads.sst.hidden_size": 32,
}
"""Annealed sampling (table 1), the best of one phase: the custom schedule, with two, is a study's."""

_THREE_HEADED: dict[str, Value] = {
    **_PLAIN,
    "optimizer.lr": 1e-5,
    "optimizer.weight_decay": 1e-4,
    "encoder.pair_encoding": "bi",
    "encoder.pooling": "mean",
    "phases.0.task_schedule": "sum_of_losses",
    "heads.qqp.kind": "abs_difference",
    "heads.sts.kind": "cosine",
}
"""Experiment 7 (table 1); at the least weight decay, not 0."""

_SHORT: dict[str, Value] = {
    **_PLAIN,
    "optimizer.lr": 1.5e-4,
    "optimizer.head_lr_scale": 1.5,
    "optimizer.weight_decay": 1e-3,
    "optimizer.lr_schedule": "linear",
    "optimizer.warmup_fraction": 0.15,
    "encoder.pooling": "mean",
    "phases.0.task_schedule": "sum_of_losses",
    "heads.*.dropout": 0.2,
    "heads.qqp.kind": "linear",
    "heads.sts.kind": "linear",
}
"""Ours, for trials that see thousands of examples and not the papers' hundreds of thousands (docs/decisions/0012)."""

SPACE = Space(
    name="leaderboard",
    title="The CS224N leaderboard: all that the three papers built, their best settings among the first",
    dimensions=(*_OPTIMIZER, *_ENCODER, *_SCHEDULE, *_OBJECTIVE, *_HEADS),
    starts=(  # of the papers' the one with SMART, whose steps take three times as long, has to beat the others
        _SHORT,
        _THREE_HEADED,
        _BEST_FIT,
        _STUDENTBERT,
    ),
)
