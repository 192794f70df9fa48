"""How many bytes a trial's files take at most, known before anything is trained: from its config and its encoder's shape."""

from trainables.config import TrialConfig
from trainables.encoder_files import EncoderFiles

_BYTES = 4
"""Of a weight: files hold single precision, whatever it is trained in."""
_DEFAULT_WIDTH = 32
_KERNEL = 3
SMALL_FILES = 64 * 1024
"""Headers, config, metrics, history, generators: text and numbers, beside weights and the tokenizer."""


def most_model_bytes(config: TrialConfig, files: EncoderFiles) -> int:
    """Of `best/` of one trial: encoders, adapters, heads, and a tokenizer for each encoder."""
    copies = 2 if config.encoder.copies == "singles_and_pairs" else 1
    tokenizer = 3 * sum(file.stat().st_size for file in {files.tokenizer_file, files.folder / "vocab.txt"} if file.is_file())
    return _BYTES * _num_weights(config, files) + copies * tokenizer + SMALL_FILES


def most_checkpoint_bytes(config: TrialConfig, files: EncoderFiles) -> int:
    """Of one checkpoint: the model, two moments of each weight (Lion has one), and the slower teacher where there is one."""
    num_teachers = 1 if config.objective.bregman.mu else 0
    return most_model_bytes(config, files) + (2 + num_teachers) * _BYTES * _num_weights(config, files) + SMALL_FILES


def _num_weights(config: TrialConfig, files: EncoderFiles) -> int:
    hidden, layers = files.hidden_size, files.num_layers
    intermediate = int(files.config["intermediate_size"])
    embeddings = (files.vocab_size + files.max_positions + int(files.config.get("type_vocab_size", 2)) + 2) * hidden
    layer = 4 * (hidden + 1) * hidden + (hidden + 1) * intermediate + (intermediate + 1) * hidden + 4 * hidden
    encoder = embeddings + layers * layer + (hidden + 1) * hidden  # the pooler, which some have
    adapters = layers * config.encoder.lora.rank * (8 * hidden + 2 * (hidden + intermediate))
    copies = 2 if config.encoder.copies == "singles_and_pairs" else 1
    return copies * (encoder + adapters) + sum(_num_head_weights(config, task.name, hidden) for task in config.tasks.tasks)


def _num_head_weights(config: TrialConfig, task: str, hidden: int) -> int:
    """Of any kind: none reads more than (u, v, |u - v|) or three tokens, has more than two layers, or pools by more weights."""
    width = max(config.heads[task].hidden_size or _DEFAULT_WIDTH, config.tasks.by_name[task].num_outputs)
    return 2 * (_KERNEL * hidden + 1) * width + (width + 1) * width + 2 * (hidden + 1)
