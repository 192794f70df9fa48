"""The embedded sample corpus: film reviews, questions and captions made from patterns and a seed, without any download.

It has the shape of the three real tasks and is learnable, but not from bags of words: sentiment turns on negation and
contrast, paraphrases differ in all words or in one, similarity is graded by what agrees.  Figures on it say that the
machinery works, nothing about language.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from trainables.data import sample_words as words
from trainables.data.rows import Rows, Split
from trainables.tasks import QQP, SST, STS

SAMPLE_SHA256 = "8699dead08be3bd35d92f09af53b5457d25d122326a79de37105f18e72900ba0"
"""sha256 of the default sample's content; stands for it in keys and lineage, so that it need not be made to be known."""

SST_NOISE = 0.08
QQP_NOISE = 0.04
STS_NOISE_STD = 0.25
UNRELATED_SHARE = 0.15
"""Share of caption pairs that have nothing in common."""
STS_WEIGHTS = (0.6, 1.2, 1.4, 1.2, 0.6)
"""What number, subject, action, object and place give to the similarity where they agree; 5 in all."""
RELATED = 0.4
"""How far neighbours, such as a man and a woman, agree."""

T = TypeVar("T")


class Example(NamedTuple):
    """One row: its sentences and its label."""

    sentences: tuple[str, ...]
    label: float


def make_sample(seed: int = 0, rows_per_task: tuple[int, int, int] = (1600, 300, 100)) -> dict[str, dict[Split, Rows]]:
    """The sample corpus.  No row stands twice in a task, so none of dev is in train.

    Args:
        seed: of all that is drawn.
        rows_per_task: rows of train, dev and test; test has no labels, as in the CS224N files.

    Returns:
        Task name -> split -> rows.
    """
    makers = {SST.name: make_review, QQP.name: make_questions, STS.name: make_captions}
    return {
        name: _split(name, _distinct(maker, sum(rows_per_task), np.random.default_rng([seed, place])), rows_per_task)
        for place, (name, maker) in enumerate(makers.items())
    }


def sample_sha256(sample: Mapping[str, Mapping[Split, Rows]]) -> str:
    """The sha256, in hex, of all ids, sentences and labels."""
    tree = {
        name: {
            split: [rows.ids, rows.sentences, None if rows.labels is None else rows.labels.tolist()]
            for split, rows in by_split.items()
        }
        for name, by_split in sample.items()
    }
    return hashlib.sha256(json.dumps(tree).encode()).hexdigest()


def make_review(rng: np.random.Generator) -> Example:
    """A sentence of a film review and its class, 0 to 4; 8 % of the classes are one off."""
    kind = rng.random()
    text, polarity = _contrast(rng) if kind < 0.45 else _graded_clause(rng) if kind < 0.75 else _clause(rng)
    label = polarity + 2
    if rng.random() < SST_NOISE:
        label = label + 1 if label == 0 or (label < 4 and rng.random() < 0.5) else label - 1
    return Example((_sentence(text),), float(label))


def make_questions(rng: np.random.Generator) -> Example:
    """Two questions and whether they ask the same; 4 % of the answers are wrong."""
    first, second, same = _directed_questions(rng) if rng.random() < 0.3 else _slot_questions(rng)
    if rng.random() < 0.5:
        first, second = second, first
    return Example((first, second), float(same != (rng.random() < QQP_NOISE)))


def make_captions(rng: np.random.Generator) -> Example:
    """Two captions and their similarity, 0 to 5 with one decimal: the weights of what agrees, and normal noise."""
    action, thing = pick(rng, words.ACTIONS)
    domains = [words.NUMBERS, pick(rng, words.SUBJECTS), action, thing, pick(rng, words.PLACES)]
    first = [pick(rng, domain) for domain in domains]
    second, agreement = list(first), np.ones(5)
    for slot in rng.permutation(5)[: rng.integers(0, 6)]:
        second[slot], agreement[slot] = _other_concept(rng, int(slot), domains[slot], first[slot])
    if rng.random() < UNRELATED_SHARE:
        second, agreement = _unrelated(rng, first, domains), np.zeros(5)
    similarity = float(agreement @ STS_WEIGHTS + STS_NOISE_STD * rng.standard_normal())
    return Example((_caption(rng, first), _caption(rng, second)), round(float(np.clip(similarity, 0, 5)), 1))


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, each as likely."""
    return options[int(rng.integers(len(options)))]


def _split(name: str, examples: Sequence[Example], sizes: tuple[int, int, int]) -> dict[Split, Rows]:
    """Cuts examples, which come in random order, into train, dev and test."""
    splits: dict[Split, Rows] = {}
    start = 0
    names: tuple[Split, ...] = ("train", "dev", "test")
    for split, size in zip(names, sizes, strict=True):
        part = examples[start : start + size]
        labels = None if split == "test" else np.array([example.label for example in part], dtype=np.float32)
        columns = tuple(list(column) for column in zip(*(example.sentences for example in part), strict=True))
        splits[split] = Rows([f"{name}-{start + i}" for i in range(len(part))], columns, labels)
        start += size
    return splits


def _distinct(make: Callable[[np.random.Generator], Example], count: int, rng: np.random.Generator) -> list[Example]:
    """Examples whose sentences differ, in the order drawn; a pair turned round counts as the same."""
    found: dict[frozenset[str], Example] = {}
    while len(found) < count:
        example = make(rng)
        if len(set(example.sentences)) == len(example.sentences):
            found.setdefault(frozenset(example.sentences), example)
    return list(found.values())


def _sentence(text: str, end: str = ".") -> str:
    text = re.sub(r"\ba (?=[aeiou])", "an ", text)
    return text[0].upper() + text[1:] + end


# Reviews: a clause and its polarity, -2 to 2.


def _clause(rng: np.random.Generator) -> tuple[str, int]:
    """A statement about a film or a part of it."""
    part, kind = pick(rng, words.PARTS), pick(rng, words.TOPICS)
    polarity = int(rng.integers(-2, 3))
    quality = pick(rng, words.QUALITIES[polarity])
    form = rng.integers(5)
    if form == 0 and polarity:
        return f"this {kind} is a {pick(rng, words.VERDICTS[polarity])}", polarity
    if form == 1:
        return f"the {part} {pick(rng, words.REACTIONS[polarity])}", polarity
    if form == 2:
        return f"this is a {quality} {kind}", polarity
    if form == 3:
        return f"this {kind} has a {quality} {part}", polarity
    return f"the {part} is {quality}", polarity


def _graded_clause(rng: np.random.Generator) -> tuple[str, int]:
    """A quality made stronger, weaker or denied by the word before it."""
    level = int(pick(rng, (-2, -1, 1, 2)))
    quality, subject = pick(rng, words.QUALITIES[level]), pick(rng, words.PARTS)
    sign = 1 if level > 0 else -1
    form = rng.integers(3)
    if form == 0:
        return f"the {subject} is {pick(rng, words.AMPLIFIERS)} {quality}", 2 * sign
    if form == 1:
        return f"the {subject} is {pick(rng, words.DAMPENERS)} {quality}", sign
    return f"the {subject} is {pick(rng, words.NEGATIONS)} {quality}", -1 if level > 0 else 0


def _contrast(rng: np.random.Generator) -> tuple[str, int]:
    """Two clauses, of which the one that the writer ends up with decides."""
    minor, minor_polarity = _clause(rng)
    major, major_polarity = _clause(rng)
    form = rng.integers(3)
    if form == 0:
        text = f"{minor}, but {major}"
    elif form == 1:
        text = f"although {minor}, {major}"
    else:
        text = f"{major}, even if {minor}"
    blend = 0.75 * major_polarity + 0.25 * minor_polarity
    return text, int(np.sign(blend) * np.floor(abs(blend) + 0.5))


# Questions.


def _slot_questions(rng: np.random.Generator) -> tuple[str, str, bool]:
    """Two questions about one thing each: the same, asked otherwise, or one change away."""
    topic = pick(rng, tuple(words.QUESTIONS))
    groups, things = words.QUESTIONS[topic], words.SLOTS[topic]
    group, thing = pick(rng, groups), pick(rng, things)
    same = bool(rng.random() < 0.5)
    other_group, other_thing = group, thing
    if not same and rng.random() < 0.5:
        other_group = _another(rng, groups, group)
    elif not same:
        other_thing = _another(rng, things, thing)
    return pick(rng, group).format(pick(rng, thing)), pick(rng, other_group).format(pick(rng, other_thing)), same


def _directed_questions(rng: np.random.Generator) -> tuple[str, str, bool]:
    """Two questions about an ordered pair of cities; turned round they ask something else with the same words."""
    group = pick(rng, words.DIRECTED)
    start = pick(rng, words.SLOTS["city"])
    end = _another(rng, words.SLOTS["city"], start)
    same = bool(rng.random() < 0.5)
    first = pick(rng, group).format(pick(rng, start), pick(rng, end))
    ends = (start, end) if same else (end, start)
    return first, pick(rng, group).format(*(pick(rng, city) for city in ends)), same


def _another(rng: np.random.Generator, options: Sequence[T], taken: T) -> T:
    return pick(rng, [option for option in options if option != taken])


# Captions.


def _other_concept(
    rng: np.random.Generator, slot: int, domain: Sequence[tuple[str, ...]], concept: tuple[str, ...]
) -> tuple[tuple[str, ...], float]:
    """What stands instead, and how far it agrees: 0.4 for a neighbour, 0 for a stranger (who can only be a subject or place)."""
    strangers = {1: words.SUBJECTS, 4: words.PLACES}.get(slot)
    if strangers and rng.random() < 0.5:
        return pick(rng, _another(rng, strangers, domain)), 0.0
    return _another(rng, domain, concept), RELATED


def _unrelated(
    rng: np.random.Generator, concepts: Sequence[tuple[str, ...]], domains: Sequence[Sequence[tuple[str, ...]]]
) -> list[tuple[str, ...]]:
    """Five concepts, none of them from where the given ones come from."""
    action, thing = pick(rng, [(a, t) for a, t in words.ACTIONS if a != domains[2]])
    return [
        _another(rng, words.NUMBERS, concepts[0]),
        pick(rng, _another(rng, words.SUBJECTS, domains[1])),
        pick(rng, action),
        pick(rng, thing),
        pick(rng, _another(rng, words.PLACES, domains[4])),
    ]


def _caption(rng: np.random.Generator, concepts: Sequence[tuple[str, ...]]) -> str:
    number, subject, action, thing, place = (pick(rng, concept) for concept in concepts)
    if number in ("a", "one"):
        return _sentence(f"{number} {subject} is {action} {pick(rng, ('a', 'the'))} {thing} {place}")
    plural = words.PLURALS.get(subject.split()[-1], subject.split()[-1] + "s")
    subject = " ".join([*subject.split()[:-1], plural])
    return _sentence(f"{number} {subject} are {action} {pick(rng, ('a', 'the'))} {thing} {place}")
