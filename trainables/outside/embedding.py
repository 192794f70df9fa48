"""Sentences to unit vectors: the mean of an encoder's last hidden states (Reimers & Gurevych 2019, https://arxiv.org/abs/1908.10084).

With the packaged encoder these are the vectors of sentence-transformers/all-MiniLM-L6-v2, which best_fit 4.6.2 takes.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from trainables.data.wordpiece import SequenceMaker
from trainables.encoder_files import EncoderFiles
from trainables.model.encoder import Encoder
from trainables.model.pooling import mean

MAX_TOKENS = 256
"""As sentence-transformers' configuration of all-MiniLM-L6-v2 says."""
_SENTENCES_PER_BATCH = 64


@torch.inference_mode()
def embed_sentences(files: EncoderFiles, sentences: Sequence[str]) -> np.ndarray:
    """Unit vectors, float32 `[num_sentences, hidden]`; on a GPU where there is one.

    Args:
        files: the encoder.
        sentences: cut at 256 tokens.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = Encoder.from_file(files.config, files.weights, dropout=0.0).eval().to(device)
    maker = SequenceMaker(files, max_tokens=min(MAX_TOKENS, files.max_positions), pair_encoding="cross")
    out = np.empty((len(sentences), files.hidden_size), dtype=np.float32)
    order = np.argsort([len(text) for text in sentences], kind="stable")  # batches of like lengths
    for start in range(0, len(order), _SENTENCES_PER_BATCH):
        places = order[start : start + _SENTENCES_PER_BATCH]
        made = maker.singles([sentences[place] for place in places])
        token_ids = torch.from_numpy(made.tokens.astype(np.int64)).to(device)
        hidden = encoder(token_ids, torch.zeros_like(token_ids), np.diff(made.offsets), generator=None)
        out[places] = F.normalize(mean(hidden), dim=1).cpu().numpy()
    return out
