"""The parts of a trial's config, each checked in itself; `trainables.config` checks that they fit each other."""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from trainables.parts import Part
from trainables.secrecy import refuse_credentials

PACKAGED_ENCODER = "packaged"
TINY_ENCODER = "tiny"
SAMPLE_SOURCE = "sample"
HUB_SOURCE = "hub"
TEACHER_ROW = "row:"
"""A teacher that is a row of the same study, `row:NAME`; a search puts the folder of its model there."""
Place = Annotated[str, AfterValidator(refuse_credentials)]
"""A folder or a name on the hub."""
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Pooling = Literal["cls", "mean", "max", "attention"]
KnownPrecision = Literal["fp32", "tf32", "bf16"]
Precision = Literal["auto", KnownPrecision]
TaskSchedule = Literal["sum_of_losses", "round_robin", "random", "annealed", "whole_dataset_round_robin"]


class EdaConfig(Part):
    """Easy data augmentation of training rows (Wei & Zou 2019, https://arxiv.org/abs/1901.11196; best_fit 4.6.1)."""

    copies: dict[str, Annotated[int, Field(ge=0, le=64)]] = Field(
        default_factory=dict, description="changed copies of each training row of a task; 0, where not given: off (8 in best_fit)"
    )
    share: float = Field(0.1, gt=0, le=1, description="share of a sentence's words that a copy changes, at least one word")


class DataConfig(Part):
    """Which rows a trial sees and how they become tokens."""

    source: Place = Field(SAMPLE_SOURCE, min_length=1, description="`sample`, `hub`, or a folder with the CS224N files")
    max_tokens: int = Field(
        128, ge=8, le=512, description="longest sequence, special tokens included; pairs are cut longest first"
    )
    normalise_text: bool = Field(False, description="CS224N's rule: lower-case, and `. ? , '` set apart by spaces")
    batch_size: int = Field(16, ge=1, le=4096, description="examples of one task in one optimizer step")
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="examples of a batch that are computed at once, which takes less memory; the gradients of the parts are "
        "added up (docs/decisions/0022); null: all of it",
    )
    bucket_window: int = Field(
        1,
        ge=1,
        le=4096,
        description="batches of a task, one after the other, whose rows are sorted by length and dealt out anew, so that a batch "
        "holds rows of like length; 1: off",
    )
    train_share: dict[str, Share] = Field(
        default_factory=dict,
        description="share of each task's training rows that is used, always the same ones; 1 where not given",
    )
    more_rows: dict[str, Annotated[tuple[str, ...], Field(strict=False)]] = Field(
        default_factory=dict,
        description="files with further training rows of a task, in its own layout (python -m trainables.outside makes them); "
        "a relative name is looked for in the folder of the data",
    )
    eda: EdaConfig = EdaConfig()
    confirm_share: float = Field(
        0.0, ge=0, le=0.9, description="share of dev, stratified, that trials are not scored on: kept to confirm the best with"
    )


class LoraConfig(Part):
    """Low-rank adaptation of the encoder's linear layers (Hu et al. 2022, https://arxiv.org/abs/2106.09685)."""

    rank: int = Field(0, ge=0, le=256, description="r; 0: off, the encoder's own weights move")
    alpha: float = Field(16.0, gt=0, le=1000, description="the update is scaled by alpha / rank")
    targets: Literal["attention", "all"] = Field(
        "attention", description="`attention`: query and value of each layer (the paper's choice); `all`: every linear layer"
    )


class EncoderConfig(Part):
    """The BERT under the heads."""

    name: Place = Field(PACKAGED_ENCODER, min_length=1, description="`packaged`, `tiny`, a folder, or a Hugging Face name")
    pair_encoding: Literal["cross", "bi"] = Field(
        "cross", description="`cross`: [CLS] a [SEP] b [SEP] read at once; `bi`: a and b read apart (studentbert 5.3)"
    )
    pooling: Pooling = Field("cls", description="tokens to sentence (best_fit A.1)")
    dropout: float = Field(0.1, ge=0, lt=1, description="inside the encoder, after embeddings, attention and dense layers")
    cls_tokens: Literal[1, 2] = Field(
        1,
        description="2: sequences begin [CLS] [CLS]; single sentences pool the first, pairs the second (studentbert appendix A)",
    )
    copies: Literal["one", "singles_and_pairs"] = Field(
        "one", description="`singles_and_pairs`: two encoders, for tasks of single sentences and of pairs (best_fit A.4)"
    )
    lora: LoraConfig = LoraConfig()
    frozen_cache: Literal["auto", "always", "never"] = Field(
        "auto",
        description="what layers that stand still give is computed once a data set, for all trials of a machine; `auto`: where a "
        "trial has two passes over its rows before it, or the files are there; `always`: wherever layers stand still",
    )


HeadKind = Literal["linear", "mlp", "conv1d", "abs_difference", "abs_difference_linear", "cosine", "compress_expand"]
_WITH_HIDDEN_LAYER = ("mlp", "conv1d", "abs_difference", "compress_expand")
_OF_FEATURES = ("linear", "mlp")
_OF_TWO_SENTENCES = ("abs_difference", "abs_difference_linear", "cosine", "compress_expand")


class HeadConfig(Part):
    """The head of one task."""

    kind: HeadKind = Field(
        "linear",
        description="`mlp`: one hidden layer (studentbert 4.1); `conv1d`: a convolution over the tokens; of two sentences that "
        "are read apart: `abs_difference`: an mlp over |u - v|, `abs_difference_linear` without its hidden layer; `cosine`; "
        "`compress_expand`: the same after a bottleneck (three_headed 3.1, 3.3)",
    )
    hidden_size: int | None = Field(
        None, ge=1, le=4096, description="width of the hidden layer, or channels of the convolution; 32 where not given"
    )
    activation: Literal["relu", "gelu", "tanh"] | None = Field(
        None, description="of the hidden layer; not given: relu, for abs_difference gelu (three_headed 3.3)"
    )
    output: Literal["identity", "relu", "sigmoid"] = Field(
        "identity",
        description="of a score: `relu`: never below the lowest label (studentbert 4.1); `sigmoid`: scaled to the labels' range "
        "(three_headed 3.3)",
    )
    pooling: Pooling | None = Field(None, description="of this head alone; null: encoder.pooling")
    concatenation: Literal["u_v_difference", "u_v"] = Field(
        "u_v_difference",
        description="what linear and mlp read of sentences u, v that are read apart: (u, v, |u - v|) (Reimers & Gurevych 2019), "
        "or (u, v) (best_fit 4.2)",
    )
    dropout: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="before each linear layer of the head (best_fit 5, three_headed 4.2); `conv1d`: before its last layer alone; "
        "`compress_expand`: between its two; `cosine` has none",
    )

    @model_validator(mode="after")
    def _its_parts_belong_to_its_kind(self) -> "HeadConfig":
        rules = {
            "hidden_size": (self.hidden_size is None or self.kind in _WITH_HIDDEN_LAYER, ", ".join(_WITH_HIDDEN_LAYER)),
            "activation": (self.activation is None or self.kind in _WITH_HIDDEN_LAYER, ", ".join(_WITH_HIDDEN_LAYER)),
            "pooling": (self.pooling is None or self.kind != "conv1d", "all kinds but conv1d, which pools by itself,"),
            "concatenation": (
                self.concatenation == "u_v_difference" or self.kind in _OF_FEATURES,
                ", ".join(_OF_FEATURES),
            ),
        }
        for key, (holds, kinds) in rules.items():
            if not holds:
                raise ValueError(f"{key} is for kind={kinds} alone, but got kind={self.kind}, {key}={getattr(self, key)}")
        return self

    @property
    def of_two_sentences(self) -> bool:
        """True where it compares two sentences that are read apart."""
        return self.kind in _OF_TWO_SENTENCES


class SmartConfig(Part):
    """SMART's smoothness-inducing adversarial regularizer (Jiang et al. 2020, https://arxiv.org/abs/1911.03437)."""

    enabled: bool = Field(False, description="add the regularizer to the loss")
    weights: dict[str, Weight] = Field(default_factory=dict, description="lambda of each task; 1 where not given")
    step_size: float = Field(
        0.1, ge=0, le=10, description="eta: length of the one ascent step, per token in the inf-norm (see docs/decisions/0003)"
    )
    noise_std: float = Field(
        1e-3, ge=0, le=1, description="sigma: standard deviation of the starting noise; > 0 where step_size > 0"
    )
    epsilon: float = Field(1e-6, gt=0, le=1, description="added to the norm that the gradient is divided by")
    dropout: Literal["same_masks", "off"] = Field(
        "same_masks", description="in the regularizer: the masks of the plain pass, or none at all (best_fit 4.5)"
    )
    divergence: Literal["symmetric_kl", "kl"] = Field(
        "symmetric_kl", description="of classes and yes or no (studentbert 4.2); `kl`: KL(clean || perturbed) (best_fit 4.5)"
    )
    batch_share: float = Field(
        1.0, gt=0, le=1, description="of each task's batch, on examples drawn at random; a half costs 1.9 plain steps, all 2.6"
    )

    def num_examples(self, batch_size: int) -> int:
        """`ceil(batch_share * batch_size)`, of which the regularizer is computed; in [1, batch_size]."""
        return max(1, math.ceil(self.batch_share * batch_size - 1e-9))  # 0.1 * 30 is a little more than 3


class BregmanConfig(Part):
    """SMART's Bregman proximal point step (Jiang et al. 2020, section 3.2): keeps predictions near those of a slower teacher."""

    mu: float = Field(0.0, ge=0, le=1000, description="weight of the divergence from the teacher; 0: off (1 in the paper)")
    beta: float = Field(0.99, ge=0, lt=1, description="the teacher is beta * itself + (1 - beta) * the model after each step")
    late_beta: float = Field(0.999, ge=0, lt=1, description="beta after the first tenth of the budget")


class ContrastiveConfig(Part):
    """Pulls the sentences of a pair together or apart, by their label (best_fit 4.3.1); for pairs that are read apart."""

    weights: dict[str, Weight] = Field(default_factory=dict, description="factor for each task of pairs; 0, where not given: off")
    margin: float = Field(
        0.5, ge=0, le=2, description="cosine distance that different sentences, or those of the lowest score, are pushed to"
    )


class RankingConfig(Part):
    """Multiple negatives ranking: a sentence finds its partner among all second sentences of the batch; for pairs read apart.

    Henderson et al. 2017 (https://arxiv.org/abs/1705.00652), section 4.4, with the cosine scale of Sentence-BERT's library.
    """

    weights: dict[str, Weight] = Field(default_factory=dict, description="factor for each task of pairs; 0, where not given: off")
    scale: float = Field(20.0, gt=0, le=1000, description="cosines are multiplied by it before the softmax")


class DistillConfig(Part):
    """Model merging: keeps predictions near those of teachers, one a task (studentbert 4.4)."""

    teachers: dict[str, str | None] = Field(
        default_factory=dict,
        description="for each task the folder of an exported model (python -m tuner.export); null, where not given: none",
    )
    gamma: float = Field(1.0, ge=0, le=1000, description="weight of the divergence from the teacher")


Loss = Literal["default", "ordered_cross_entropy"]


class ObjectiveConfig(Part):
    """The loss of each task, and what is added to it."""

    losses: dict[str, Loss] = Field(
        default_factory=dict,
        description="of each task; `default`: cross-entropy, binary cross-entropy or squared error, as its target says; "
        "`ordered_cross_entropy`: with a penalty for classes far off (best_fit 4.3.2)",
    )
    smart: SmartConfig = SmartConfig()
    bregman: BregmanConfig = BregmanConfig()
    contrastive: ContrastiveConfig = ContrastiveConfig()
    ranking: RankingConfig = RankingConfig()
    distill: DistillConfig = DistillConfig()


class BalancingConfig(Part):
    """How the tasks' losses meet, and their gradients."""

    loss_weights: dict[str, Weight] = Field(default_factory=dict, description="factor of each task's loss; 1 where not given")
    weighting: Literal["fixed", "uncertainty"] = Field(
        "fixed",
        description="`uncertainty`: factors are learnt on top, at a rate of their own (Kendall et al. 2018, "
        "https://arxiv.org/abs/1705.07115)",
    )
    gradients: Literal["sum", "pcgrad"] = Field(
        "sum", description="`pcgrad`: what conflicts is projected away (best_fit 4.5; Yu et al. 2020); for steps of several tasks"
    )


class OptimizerConfig(Part):
    """Optimizer, learning-rate schedule and clipping."""

    name: Literal["adamw", "lion"] = Field(
        "adamw", description="AdamW (Loshchilov & Hutter 2019), or Lion (Chen et al. 2023), whose lr is 3 to 10 times lower"
    )
    lr: float = Field(1e-5, gt=0, le=1, description="peak learning rate of the encoder")
    head_lr_scale: float = Field(1.0, gt=0, le=10_000, description="learning rate of the heads over that of the encoder")
    weight_decay: float = Field(0.01, ge=0, le=1, description="decoupled; biases and layer norms are spared")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float | None = Field(None, ge=0, lt=1, description="null: 0.999 for adamw, 0.99 for lion")
    eps: float = Field(1e-6, gt=0, le=1, description="of adamw; lion has none")
    lr_schedule: Literal["constant", "linear", "cosine", "slanted_triangular"] = Field(
        "constant", description="course of the learning rate over each phase"
    )
    warmup_fraction: float = Field(0.0, ge=0, lt=1, description="share of the phase in which the rate climbs")
    max_grad_norm: float | None = Field(1.0, gt=0, description="clip the gradient to this 2-norm; null: never")

    @model_validator(mode="after")
    def _triangle_needs_a_slope(self) -> "OptimizerConfig":
        if self.lr_schedule == "slanted_triangular" and self.warmup_fraction == 0:
            raise ValueError("warmup_fraction > 0 must hold for lr_schedule=slanted_triangular, but got warmup_fraction=0.0")
        return self


class PhaseConfig(Part):
    """One stretch of training: which tasks, whose turn when, for how much of the budget, and what may move."""

    tasks: tuple[str, ...] = Field((), strict=False, description="tasks that train; all where not given")
    task_schedule: TaskSchedule = Field(
        "round_robin",
        description="`sum_of_losses`: a batch of every task in each step; `round_robin`: a batch of one task a step, in turn; "
        "`random`: of one drawn at random; `annealed`: drawn in proportion to rows^alpha, alpha = 1 - 0.8 (e - 1) / (E - 1) in "
        "epoch e of E; `whole_dataset_round_robin`: all rows of one task, then of the next (studentbert 4.1, 4.3; best_fit 4.4)",
    )
    round_share: dict[str, Share] = Field(
        default_factory=dict,
        description="share of a task's rows in each round of whole_dataset_round_robin, drawn anew each time (studentbert 5.6), "
        "rounded up to whole batches; 1 where not given",
    )
    epochs: int = Field(5, ge=1, le=1000, description="E, of equally many examples each; for task_schedule=annealed")
    batches_per_epoch: int | None = Field(
        None, ge=1, description="of annealed, instead of epochs: E is then as many as the phase has (best_fit 5: 2000)"
    )
    share: float = Field(1.0, gt=0, le=1, description="share of the budget; the shares of all phases add up to 1")
    trainable: Literal["everything", "heads"] = Field("everything", description="`heads`: the encoder stands still")
    frozen_layers: int = Field(
        0, ge=0, le=48, description="embeddings and this many first layers stand still (three_headed 3.4, surgical fine-tuning)"
    )
    lr: float | None = Field(None, gt=0, le=1, description="peak learning rate of this phase; null: optimizer.lr")

    @field_validator("tasks")
    @classmethod
    def _tasks_differ(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tasks)) != len(tasks):
            raise ValueError(f"each task may stand once, but got {', '.join(tasks)}")
        return tasks
