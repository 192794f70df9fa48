"""Easy data augmentation: changed copies of training rows (Wei & Zou 2019, https://arxiv.org/abs/1901.11196; best_fit 4.6.1).

Four operations, each on `max(1, round(share * words))` words: a word gives way to a synonym, a synonym of some word goes in
anywhere, two words change places, a word goes.  They take turns, so that they are used in equal parts: two each of 8 copies.

Departures from the authors' code (https://github.com/jasonwei20/eda_nlp), which their paper does not ask for:

- Text keeps its capitals and its punctuation, which their code takes away from copies and originals alike.
- Deletion takes a fixed number of words, as best_fit says ("we modified 10% of the words"), not each with some probability.
- `share * words` is rounded to the nearest whole number, which comes nearer to those 10%; their code cuts it off (`int`): of a
  sentence of 19 words two are changed here and one there.
- Synonyms are replaced word by word, not wherever the word stands; they are never of `FIXED_WORDS`, which holds negations, too.
- Of a pair, one sentence, drawn by lot, is changed and the other stays: both at once would twice as often change whether they
  mean the same, while the label stays.
- Where no word has a synonym, two words change places instead; a sentence of one word without synonyms is copied as it is.
"""

import functools
import hashlib
import random
import re
from collections.abc import Callable, Mapping

import numpy as np

from trainables.config_parts import EdaConfig
from trainables.data.rows import Rows
from trainables.data.synonyms import Synonyms, find_synonyms

EDA_VERSION = 1
"""Raise it whenever the same rows and settings would give other copies."""

Operation = Callable[[list[str], int, Synonyms, random.Random], list[str]]
_EDGES = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)


def add_copies(rows: Mapping[str, Rows], config: EdaConfig) -> dict[str, Rows]:
    """Training rows with their changed copies behind them: all originals in their order, then the copies of the first, and so on.

    Copy 1 of a row `x` has the id `x~1` and the label of `x`.  It hangs on the task's name, the row's id and text, the copy's
    number and `config.share` alone: it is the same in every trial, on every machine, and however many copies there are.

    Args:
        rows: task name -> its training rows.
        config: how many copies of each row of a task, and the share of a sentence's words that they change.

    Returns:
        Task name -> rows; those of tasks without copies as they were.

    Raises:
        DataError: there is nothing to take synonyms from (see `find_synonyms`).
    """
    changed = {name: copies for name, copies in config.copies.items() if copies and name in rows}
    texts = (text for name in changed for column in rows[name].sentences for text in column)
    synonyms = find_synonyms({_core(word) for text in texts for word in text.split()}) if changed else {}
    return {
        name: _with_copies(name, table, changed[name], config.share, synonyms) if name in changed else table
        for name, table in rows.items()
    }


def change(sentence: str, operation: Operation, share: float, synonyms: Synonyms, chance: random.Random) -> str:
    """A sentence after one operation on `max(1, round(share * words))` of its words; words are what whitespace separates."""
    words = sentence.split()
    changed = operation(words, max(1, round(share * len(words))), synonyms, chance)
    return " ".join(changed)


def replace_with_synonyms(words: list[str], num_changes: int, synonyms: Synonyms, chance: random.Random) -> list[str]:
    """As many words as asked for, or all that have synonyms, each replaced by one of its own; where no word has any, `swap`.

    A replacement keeps the punctuation around the word and a capital at its head.
    """
    places = [place for place, word in enumerate(words) if _core(word) in synonyms]
    if not places:
        return swap(words, num_changes, synonyms, chance)
    out = list(words)
    for place in chance.sample(places, min(num_changes, len(places))):
        out[place] = _replaced(words[place], chance.choice(synonyms[_core(words[place])]))
    return out


def insert_synonyms(words: list[str], num_changes: int, synonyms: Synonyms, chance: random.Random) -> list[str]:
    """As many synonyms as asked for of words of the sentence, each put in anywhere; where no word has any, `swap`."""
    sources = [_core(word) for word in words if _core(word) in synonyms]
    if not sources:
        return swap(words, num_changes, synonyms, chance)
    out = list(words)
    for _ in range(num_changes):
        out.insert(chance.randrange(len(out) + 1), chance.choice(synonyms[chance.choice(sources)]))
    return out


def swap(words: list[str], num_changes: int, synonyms: Synonyms, chance: random.Random) -> list[str]:  # noqa: ARG001
    """Two words, drawn anew each time, change places as often as asked for."""
    out = list(words)
    for _ in range(num_changes if len(words) > 1 else 0):
        one, other = chance.sample(range(len(out)), 2)
        out[one], out[other] = out[other], out[one]
    return out


def delete(words: list[str], num_changes: int, synonyms: Synonyms, chance: random.Random) -> list[str]:  # noqa: ARG001
    """As many words as asked for are gone; at least one stays."""
    gone = set(chance.sample(range(len(words)), max(0, min(num_changes, len(words) - 1))))
    return [word for place, word in enumerate(words) if place not in gone]


OPERATIONS: tuple[Operation, ...] = (replace_with_synonyms, insert_synonyms, swap, delete)


def _with_copies(task: str, rows: Rows, copies: int, share: float, synonyms: Synonyms) -> Rows:
    ids, sentences = list(rows.ids), tuple(list(column) for column in rows.sentences)
    for row, name in enumerate(rows.ids):
        texts = [column[row] for column in rows.sentences]
        for copy in range(1, copies + 1):
            ids.append(f"{name}~{copy}")
            for column, text in zip(sentences, _copy((task, name), copy, texts, share, synonyms), strict=True):
                column.append(text)
    labels = None if rows.labels is None else np.concatenate([rows.labels, np.repeat(rows.labels, copies)])
    return Rows(ids, sentences, labels)


def _copy(name: tuple[str, str], copy: int, texts: list[str], share: float, synonyms: Synonyms) -> list[str]:
    """The sentences of a copy of the row `(task, id)`; which operation comes first is drawn for each row, and they take turns."""
    chance = random.Random(_seed(*name, str(copy)))
    place = chance.randrange(len(texts))
    operation = OPERATIONS[(_seed(*name) + copy) % len(OPERATIONS)]
    return [change(text, operation, share, synonyms, chance) if i == place else text for i, text in enumerate(texts)]


def _seed(*words: str) -> int:
    return int.from_bytes(hashlib.sha256("\x00".join(words).encode()).digest()[:8])


@functools.lru_cache(maxsize=2**16)
def _core(word: str) -> str:
    """The word without the punctuation around it, in lower case."""
    return _split(word)[1].lower()


def _split(word: str) -> tuple[str, str, str]:
    match = _EDGES.match(word)
    assert match is not None
    before, core, after = match.groups()
    return before, core, after


def _replaced(word: str, synonym: str) -> str:
    before, core, after = _split(word)
    return before + (synonym[0].upper() + synonym[1:] if core[:1].isupper() else synonym) + after
