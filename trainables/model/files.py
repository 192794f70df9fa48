"""A trained model as a folder that anybody can load.

encoder/            config.json, model.safetensors, the tokenizer's files: `transformers.AutoModel.from_pretrained` reads it
heads.safetensors   the three heads
config.yaml         the trial's config; trains the model again
"""

import shutil
from pathlib import Path

import torch

from trainables.config import TrialConfig
from trainables.encoder_files import EncoderFiles, find_encoder
from trainables.model.multitask import MultitaskModel
from trainables.paths import read_yaml, write_yaml

TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def save_model(model: MultitaskModel, files: EncoderFiles, folder: Path) -> None:
    """Writes the model into a folder, which is made.

    Args:
        model: what to write; its `config` goes along.
        files: of the encoder that it started from; the tokenizer is copied from there.
        folder: where to; files of these names are written over.
    """
    model.save_weights(folder)
    shutil.copyfile(files.tokenizer_file, folder / "encoder" / "tokenizer.json")
    for name in TOKENIZER_FILES:
        if (files.folder / name).is_file():
            shutil.copyfile(files.folder / name, folder / "encoder" / name)
    write_yaml(model.config.to_tree(), folder / "config.yaml")


def load_model(folder: Path) -> tuple[TrialConfig, MultitaskModel]:
    """The model that `save_model` wrote, on the CPU, and its config.

    Raises:
        ValueError: the folder holds no such model.
    """
    config = TrialConfig.parse(read_yaml(folder / "config.yaml"))
    heads = folder / "heads.safetensors"
    if not heads.is_file():
        raise ValueError(f"{heads}: no such file")
    model = MultitaskModel(config, find_encoder(str((folder / "encoder").resolve())), torch.Generator())
    model.load_heads(heads)
    return config, model
