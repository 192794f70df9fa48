"""How many bytes a trial's files take at most, known before anything is trained: from its config and its encoder's shape.

Of all trials of a search, too: `varying` then says what may stand at the config's paths, and the largest counts.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from trainables.config import TrialConfig
from trainables.encoder_files import EncoderFiles
from trainables.paths import values_at

Varying = Mapping[str, Sequence[Any]]
"""Config path, perhaps with `*` -> values that it may have beside the config's own."""
NOTHING: Varying = MappingProxyType({})

_BYTES = 4
"""Of a weight: files hold single precision, whatever it is trained in."""
_DEFAULT_WIDTH = 32
_KERNEL = 3
SMALL_FILES = 64 * 1024
"""Headers, config, metrics, history, generators: text and numbers, beside weights and the tokenizer."""


def most_model_bytes(config: TrialConfig, files: EncoderFiles, varying: Varying = NOTHING) -> int:
    """Of `best/` of one trial: encoders, adapters, heads, and a tokenizer for each encoder."""
    tokenizer = 3 * sum(file.stat().st_size for file in {files.tokenizer_file, files.folder / "vocab.txt"} if file.is_file())
    return _BYTES * _num_weights(config, files, varying) + _num_encoders(config, varying) * tokenizer + SMALL_FILES


def most_checkpoint_bytes(config: TrialConfig, files: EncoderFiles, varying: Varying = NOTHING) -> int:
    """Of one checkpoint: the model, two moments of each weight (Lion has one), and the slower teacher where there is one."""
    num_teachers = 1 if any(_values(config, "objective.bregman.mu", varying)) else 0
    of_optimizer = (2 + num_teachers) * _BYTES * _num_weights(config, files, varying)
    return most_model_bytes(config, files, varying) + of_optimizer + SMALL_FILES


def _num_weights(config: TrialConfig, files: EncoderFiles, varying: Varying) -> int:
    hidden, layers = files.hidden_size, files.num_layers
    intermediate = int(files.config["intermediate_size"])
    embeddings = (files.vocab_size + files.max_positions + int(files.config.get("type_vocab_size", 2)) + 2) * hidden
    layer = 4 * (hidden + 1) * hidden + (hidden + 1) * intermediate + (intermediate + 1) * hidden + 4 * hidden
    encoder = embeddings + layers * layer + (hidden + 1) * hidden  # the pooler, which some have
    rank = max(_values(config, "encoder.lora.rank", varying))
    adapters = layers * rank * (8 * hidden + 2 * (hidden + intermediate))
    heads = sum(_num_head_weights(config, task.name, hidden, varying) for task in config.tasks.tasks)
    return int(_num_encoders(config, varying) * (encoder + adapters) + heads)


def _num_encoders(config: TrialConfig, varying: Varying) -> int:
    return 2 if "singles_and_pairs" in _values(config, "encoder.copies", varying) else 1


def _num_head_weights(config: TrialConfig, task: str, hidden: int, varying: Varying) -> int:
    """Of any kind: none reads more than (u, v, |u - v|) or three tokens, has more than two layers, or pools by more weights."""
    widths = (width or _DEFAULT_WIDTH for width in _values(config, f"heads.{task}.hidden_size", varying))
    width = max(*widths, config.tasks.by_name[task].num_outputs)
    return 2 * (_KERNEL * hidden + 1) * width + (width + 1) * width + 2 * (hidden + 1)


def _values(config: TrialConfig, path: str, varying: Varying) -> list[Any]:
    """What may stand at a path: the config's own value, and those that it may have beside it."""
    also = [value for pattern, values in varying.items() if _means(pattern, path) for value in values]
    return [*values_at(config.to_tree(), path), *also]


def _means(pattern: str, path: str) -> bool:
    ours, theirs = path.split("."), pattern.split(".")
    return len(ours) == len(theirs) and all(a in (b, "*") for a, b in zip(theirs, ours, strict=True))
