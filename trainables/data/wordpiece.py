"""Sentences to BERT sequences: `[CLS] a [SEP]`, `[CLS] a [SEP] b [SEP]`, cut as Hugging Face cuts them; or with several `[CLS]`.

The tokenizer is asked for bare word pieces; special tokens and truncation are ours, in numpy for all rows at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from trainables.encoder_files import EncoderError, EncoderFiles


@dataclass(frozen=True)
class Sequences:
    """Token numbers of many rows, end to end.

    Attributes:
        tokens: int32 `[total_tokens]`.
        offsets: int64 `[num_rows + 1]`.
        first_lengths: int32 `[num_rows]`, tokens up to and with the first `[SEP]`.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    first_lengths: np.ndarray


@dataclass(frozen=True)
class Pieces:
    """Word pieces of many sentences without special tokens: int32 `tokens`, int64 `starts` and `lengths` `[num_rows]`."""

    tokens: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


class SequenceMaker:
    """Makes the sequences of one encoder.

    Args:
        files: the encoder, for its tokenizer.
        max_tokens: longest sequence, special tokens included.
        pair_encoding: `cross`: both sentences of a pair in one sequence; `bi`: each in its own.
        cls_tokens: how many [CLS] each sequence begins with.

    Raises:
        EncoderError: `tokenizer.json` cannot be read, is not BERT's, or knows more tokens than the encoder.
    """

    def __init__(self, files: EncoderFiles, *, max_tokens: int, pair_encoding: str, cls_tokens: int = 1) -> None:
        self._tokenizer = load_tokenizer(files)
        self._cls, self._sep = self._tokenizer.encode("").ids
        self._max_tokens = max_tokens
        self._pair_encoding = pair_encoding
        self._cls_tokens = cls_tokens

    def singles(self, sentences: Sequence[str]) -> Sequences:
        """One sequence a row: `[CLS] a [SEP]`."""
        pieces = self._pieces(sentences)
        return self._lay_out([(pieces, np.minimum(pieces.lengths, self._room))], [self._cls_tokens])

    def pairs(self, firsts: Sequence[str], seconds: Sequence[str]) -> Sequences:
        """`[CLS] a [SEP] b [SEP]`, cut longest first; under `bi`, `[CLS] a [SEP]` and then `[CLS] b [SEP]`, cut apart."""
        a, b = self._pieces(firsts), self._pieces(seconds)
        if self._pair_encoding == "bi":
            cut_a, cut_b = np.minimum(a.lengths, self._room), np.minimum(b.lengths, self._room)
            return self._lay_out([(a, cut_a), (b, cut_b)], [self._cls_tokens, self._cls_tokens])
        cut_a, cut_b = truncate_longest_first(a.lengths, b.lengths, self._room - 1)
        return self._lay_out([(a, cut_a), (b, cut_b)], [self._cls_tokens, 0])

    @property
    def _room(self) -> int:
        """Word pieces that one sentence alone has room for."""
        return self._max_tokens - self._cls_tokens - 1

    def _pieces(self, sentences: Sequence[str]) -> Pieces:
        encoded = [item.ids for item in self._tokenizer.encode_batch_fast(list(sentences), add_special_tokens=False)]
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        tokens = np.fromiter((token for ids in encoded for token in ids), dtype=np.int32, count=int(lengths.sum()))
        return Pieces(tokens, np.cumsum(lengths) - lengths, lengths)

    def _lay_out(self, parts: Sequence[tuple[Pieces, np.ndarray]], cls_tokens: Sequence[int]) -> Sequences:
        """Writes the first `lengths` pieces of each part, after its number of `[CLS]`, each part closed by `[SEP]`."""
        sizes = [lengths + 1 + openers for (_, lengths), openers in zip(parts, cls_tokens, strict=True)]
        offsets = np.concatenate([[0], np.cumsum(np.sum(sizes, axis=0))]).astype(np.int64)
        tokens = np.full(offsets[-1], self._sep, dtype=np.int32)
        at = offsets[:-1]
        for (pieces, lengths), openers, size in zip(parts, cls_tokens, sizes, strict=True):
            tokens[at[:, None] + np.arange(openers)] = self._cls
            places = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            tokens[np.repeat(at + openers, lengths) + places] = pieces.tokens[np.repeat(pieces.starts, lengths) + places]
            at = at + size
        return Sequences(tokens, offsets, sizes[0].astype(np.int32))


def truncate_longest_first(first: np.ndarray, second: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens of each sentence stay, so that both fit in `room`: Hugging Face's `longest_first`.

    The longer one is cut first; where both must be cut, each gets half of `room`, and the odd token goes to the longer one
    (the second one where they are equal).

    Args:
        first: tokens of the first sentences, integer `[num_rows]`.
        second: tokens of the second sentences, integer `[num_rows]`.
        room: tokens for both together.

    Returns:
        Tokens kept, `[num_rows]` each.

    Source: `truncate_encodings` of https://github.com/huggingface/tokenizers.
    """
    short, long = np.minimum(first, second), np.maximum(first, second)
    cut_long = np.maximum(short, room - short)
    both = short + cut_long > room
    kept_short = np.where(both, room // 2, short)
    kept_long = np.minimum(long, np.where(both, room - room // 2, cut_long))
    swapped = first > second
    return np.where(swapped, kept_long, kept_short), np.where(swapped, kept_short, kept_long)


def load_tokenizer(files: EncoderFiles) -> Tokenizer:
    """The encoder's tokenizer, without padding and truncation.

    Raises:
        EncoderError: the file cannot be read, its sequences are not BERT's, or it knows more tokens than the encoder.
    """
    try:
        tokenizer = Tokenizer.from_file(str(files.tokenizer_file))
    except Exception as error:  # the Rust side raises a bare Exception
        raise EncoderError(f"{files.tokenizer_file}: no readable tokenizer.json ({error})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    alone, pair = tokenizer.encode(""), tokenizer.encode("", "")
    if len(alone.ids) != 2 or pair.ids != [*alone.ids, alone.ids[1]] or pair.type_ids != [0, 0, 1]:
        raise EncoderError(
            f"{files.tokenizer_file}: a BERT tokenizer makes [CLS] a [SEP] and [CLS] a [SEP] b [SEP], but this one frames "
            f"an empty pair as {pair.tokens} in segments {pair.type_ids}"
        )
    highest = max(tokenizer.get_vocab().values())
    if highest >= files.vocab_size:
        raise EncoderError(
            f"{files.tokenizer_file}: the tokenizer has a token {highest}, but the encoder has embeddings for "
            f"{files.vocab_size} alone"
        )
    return tokenizer
