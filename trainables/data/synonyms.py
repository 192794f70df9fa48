"""Synonyms for data augmentation: from WordNet's own files where there are any, else from an encoder's embedding table.

EDA takes them from WordNet (Miller 1995, https://doi.org/10.1145/219717.219748).  No wheel that is kept up carries its data, so
`$TRITUNE_WORDNET` names a folder with it (Debian: the package wordnet-base, folder /usr/share/wordnet).  Without it a word's
synonyms are, as a departure, its neighbours in the embedding table of the packaged encoder, the same for every trial whatever
its own encoder is: near words are inflections and synonyms, now and then something else (actor, actress).
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open

from trainables.config_parts import PACKAGED_ENCODER
from trainables.data.rows import DataError
from trainables.encoder_files import EncoderError, EncoderFiles, find_encoder
from trainables.files import sha256_of
from trainables.plain_files import read_json

Synonyms = Mapping[str, Sequence[str]]
"""A word in lower case -> words that may stand for it, in a fixed order; words that have none may be missing."""

WORDNET_VARIABLE = "TRITUNE_WORDNET"
WORDNET_FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
LOWEST_COSINE = 0.55
"""Of a neighbour; good and bad are 0.53 apart in the packaged encoder's table, terrible and awful 0.68."""
MAX_NEIGHBOURS = 5
_SCALE = 2000
_TABLE = "embeddings.word_embeddings.weight"
_BLOCK = 512

FIXED_WORDS = frozenset(
    """
    a about above after again all also am an and another any are as at back be because been before being below between both but by
    can could did do does doing down during each either else ever every few for from further had has have having he her here hers
    herself him himself his how i if in into is it its itself just me might more most much must my myself of off on once one only
    onto or other our ours ourselves out over own quite rather same shall she should since so some such than that the their theirs
    them themselves then there these they this those though through to too under until up upon us very was we were what when where
    whether which while who whom whose why will with would yet you your yours yourself yourselves
    cannot hardly least less neither never no nobody none nor not nothing nowhere scarcely without
    zero two three four five six seven eight nine ten eleven twelve hundred thousand million billion first second third
    monday tuesday wednesday thursday friday saturday sunday
    january february march april may june july august september october november december
    decrease decreased female increase increased male negative positive strong weak
    """.split()  # noqa: SIM905
)
"""Words that are never replaced and never put in: function words and, as their neighbours change what a sentence says, negations,
counts, days, months and some opposites that stand close together in embedding tables."""


def synonym_hashes() -> dict[str, str]:
    """sha256 of the files that the synonyms come from; empty for the packaged encoder, whose bytes are pinned.

    Raises:
        DataError: `$TRITUNE_WORDNET` names a folder without WordNet's files.
    """
    folder = wordnet_folder()
    return {} if folder is None else {f"wordnet {name}": sha256_of(folder / name) for name in WORDNET_FILES}


def find_synonyms(words: Iterable[str]) -> Synonyms:
    """The synonyms of some words in lower case; of words in `FIXED_WORDS` none.

    Raises:
        DataError: `$TRITUNE_WORDNET` names a folder without WordNet's files, or the packaged encoder is not there.
    """
    wanted = sorted(set(words) - FIXED_WORDS)
    folder = wordnet_folder()
    if folder is not None:
        return wordnet_synonyms(folder, wanted)
    try:
        return neighbours(find_encoder(PACKAGED_ENCODER), wanted)
    except EncoderError as error:
        raise DataError([f"data.eda takes its synonyms from the packaged encoder: {error}; or set {WORDNET_VARIABLE}"]) from None


def wordnet_folder() -> Path | None:
    """The folder with WordNet's `data.noun` and so on that `$TRITUNE_WORDNET` names; None where it is not set.

    Raises:
        DataError: a file is missing there.
    """
    named = os.environ.get(WORDNET_VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    missing = [name for name in WORDNET_FILES if not (folder / name).is_file()]
    if missing:
        raise DataError(
            [f"{WORDNET_VARIABLE}={named}: no {', '.join(missing)} there; it names the folder with WordNet's own files"]
        )
    return folder


def wordnet_synonyms(folder: Path, words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """All words that share a set of synonyms with a word, of every part of speech, in the order of the alphabet.

    As in EDA's code, `_` and `-` in WordNet's words become spaces; a word's own form is left out.

    Source: the layout of the files is that of `wndb(5WN)`, https://wordnet.princeton.edu/documentation/wndb5wn.
    """
    wanted = set(words)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for name in WORDNET_FILES:
        with (folder / name).open(encoding="utf-8") as file:
            for line in file:
                if line.startswith(" "):  # the licence
                    continue
                members = _members(line)
                for word in wanted.intersection(members):
                    found[word].update(members)
    return {word: _without(word, members) for word, members in sorted(found.items()) if _without(word, members)}


def neighbours(files: EncoderFiles, words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The nearest whole words of each word in an encoder's embedding table: cosine at least 0.55, at most 5, nearest first.

    Words that are no single piece of the vocabulary have none.  The unit vectors are rounded to multiples of 1/2000: in these
    units their products are whole numbers below 2^24, exact in float32 in any order, so every machine finds the same neighbours.
    """
    vocabulary = _whole_words(files)
    known = [word for word in words if word in vocabulary]
    names = list(vocabulary)
    table = _unit_table(files, list(vocabulary.values()))
    place = {word: number for number, word in enumerate(names)}
    found = {}
    for start in range(0, len(known), _BLOCK):
        block = known[start : start + _BLOCK]
        own = [place[word] for word in block]
        cosines = table[own] @ table.T
        cosines[range(len(block)), own] = -1
        for word, row in zip(block, cosines, strict=True):
            near = np.flatnonzero(row >= LOWEST_COSINE * _SCALE**2)
            order = near[np.argsort(-row[near], kind="stable")][:MAX_NEIGHBOURS]
            found[word] = tuple(names[number] for number in order)
    return {word: near for word, near in found.items() if near}


def _members(line: str) -> list[str]:
    """The words of a line of `data.*`: `offset file type count word id word id ... | gloss`, the count in hex."""
    fields = line.split(" ")
    words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
    return [word.partition("(")[0].replace("_", " ").replace("-", " ").lower() for word in words]


def _without(word: str, members: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(members) - {word} - FIXED_WORDS))


def _whole_words(files: EncoderFiles) -> dict[str, int]:
    """Vocabulary's whole words of plain letters that may be put in or replaced -> their rows in the table."""
    vocabulary = read_json(files.tokenizer_file)["model"]["vocab"]
    rows = sorted((row, word) for word, row in vocabulary.items())
    return {
        word: row
        for row, word in rows
        if word.isascii() and word.isalpha() and word.islower() and len(word) > 1 and word not in FIXED_WORDS
    }


def _unit_table(files: EncoderFiles, rows: Sequence[int]) -> np.ndarray:
    """Unit vectors times 2000, rounded: float32 `[len(rows), hidden]`."""
    with safe_open(files.weights, framework="numpy") as file:
        name = next(key for key in file.keys() if key.endswith(_TABLE))  # noqa: SIM118 - no mapping
        vectors = file.get_tensor(name)[list(rows)].astype(np.float64)
    lengths = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    units: np.ndarray = np.rint(_SCALE * vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return units
