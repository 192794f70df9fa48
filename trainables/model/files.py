"""A trained model as a folder that anybody can load.

encoder/            config.json, model.safetensors, the tokenizer's files: `transformers.AutoModel.from_pretrained` reads it
encoder_pairs/      the same of the second encoder, where `encoder.copies` is singles_and_pairs
lora.safetensors    the adapters, where `encoder.lora.rank` is above 0; the encoder's weights have them merged in
heads.safetensors   the heads
config.yaml         the trial's config; trains the model again
"""

import shutil
from pathlib import Path

import torch

from trainables.config import TrialConfig
from trainables.encoder_files import EncoderFiles, find_encoder
from trainables.model.multitask import ENCODER, ENCODER_PAIRS, MultitaskModel
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
    for encoder in model.encoders:
        _copy_tokenizer(files, folder / encoder)
    write_yaml(model.config.to_tree(), folder / "config.yaml")


def _copy_tokenizer(files: EncoderFiles, folder: Path) -> None:
    shutil.copyfile(files.tokenizer_file, folder / "tokenizer.json")
    for name in TOKENIZER_FILES:
        if (files.folder / name).is_file():
            shutil.copyfile(files.folder / name, folder / name)


def load_model(folder: Path) -> tuple[TrialConfig, MultitaskModel]:
    """The model that `save_model` wrote, on the CPU, and its config.

    It predicts what the saved one did.  Adapters are merged into the encoder's weights; those that it has besides add nothing.

    Raises:
        ValueError: the folder holds no such model.
    """
    config = TrialConfig.parse(read_yaml(folder / "config.yaml"))
    heads = folder / "heads.safetensors"
    if not heads.is_file():
        raise ValueError(f"{heads}: no such file")
    encoder = find_encoder(str((folder / ENCODER).resolve()))
    two = config.encoder.copies == "singles_and_pairs"
    files_of_pairs = find_encoder(str((folder / ENCODER_PAIRS).resolve())) if two else None
    model = MultitaskModel(config, encoder, torch.Generator(), files_of_pairs=files_of_pairs)
    model.load_heads(heads)
    return config, model
