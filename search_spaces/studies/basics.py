"""What every task has: learning rates, batch size, SMART, schedules, heads, pooling, dropout, weight decay."""

from search_spaces.domains import Categorical, Float, Int
from search_spaces.space import Dimension, Space

SPACE = Space(
    name="basics",
    title="Any tasks: learning rates, batch size, SMART, schedules, heads, pooling, dropout, weight decay",
    dimensions=(
        Dimension("optimizer.lr", Float(1e-5, 5e-4, log=True), source="best_fit table 7: 1e-5 to 1e-4; small encoders want more"),
        Dimension("optimizer.head_lr_scale", Float(1.0, 30.0, log=True), source="ours: new heads start from nothing"),
        Dimension("data.batch_size", Categorical((8, 16, 32)), source="best_fit table 7: 8, 12, 16, 32"),
        Dimension("objective.smart.enabled", Categorical((False, True)), source="studentbert 4.2, best_fit 4.5"),
        Dimension(
            "objective.smart.weights.*",
            Float(0.01, 10.0, log=True),
            when={"objective.smart.enabled": (True,)},
            source="studentbert 5.4: 0.01 to 5; best_fit table 2 and 4: 0.5 to 10",
        ),
        Dimension(
            "objective.smart.step_size",
            Float(0.01, 1.0, log=True),
            when={"objective.smart.enabled": (True,)},
            source="ours: the papers' 1e-3 does nothing as written, and is 1 in the code they used (docs/decisions/0003)",
        ),
        Dimension(
            "optimizer.lr_schedule",
            Categorical(("constant", "linear", "cosine", "slanted_triangular")),
            source="the papers: constant; Howard & Ruder 2018 for the triangle",
        ),
        Dimension("optimizer.warmup_fraction", Float(0.02, 0.3), source="Devlin et al. 2019: 0.1; Howard & Ruder 2018: 0.1"),
        Dimension(
            "phases.0.task_schedule",
            Categorical(("round_robin", "sum_of_losses", "whole_dataset_round_robin")),
            source="studentbert 4.1 and 4.3, best_fit 4.4",
        ),
        Dimension("heads.*.kind", Categorical(("linear", "mlp")), source="studentbert 4.1, best_fit 4.1"),
        Dimension(
            "heads.*.hidden_size",
            Int(16, 256, log=True),
            when={"heads.*.kind": ("mlp",)},
            source="studentbert 4.1: 32",
        ),
        Dimension("heads.*.dropout", Float(0.0, 0.5), source="best_fit 5 and three_headed 4.2: 0.3"),
        Dimension("encoder.pooling", Categorical(("cls", "mean")), source="best_fit A.1"),
        Dimension("encoder.dropout", Float(0.0, 0.2), source="Devlin et al. 2019: 0.1"),
        Dimension("optimizer.weight_decay", Float(1e-4, 0.1, log=True), source="best_fit 5: 0.1; three_headed 4.2: 0"),
    ),
)
