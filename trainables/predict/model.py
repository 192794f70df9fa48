"""A model that is exported says what it thinks of rows: the tokens and the forward of training, without dropout."""

import numpy as np

from trainables.data.tokens import tokenise_rows
from trainables.encoder_files import find_encoder
from trainables.evaluation import predict
from trainables.model.files import load_model
from trainables.predict.request import Request
from trainables.teacher_files import ENCODER
from trainables.threads import torch_threads


def outputs_of(request: Request) -> np.ndarray:
    """Raw outputs for all rows asked for, in their order, float32 `[num_rows, num_classes]` or `[num_rows]`; on the CPU.

    For all rows of dev or test they are, on the machine that made the export, what its prediction files were made of, bit for
    bit.  A row alone may differ in the last digits: the kernels' order of sums depends on what shares its batch.
    """
    config, task, rows = request.config, request.task, request.rows
    table = tokenise_rows(rows, task, config.data, config.encoder, find_encoder(str(request.folder / ENCODER)))
    _, model = load_model(request.folder)
    with torch_threads(config.num_threads):
        return predict(model, table, task, np.arange(rows.num_rows))
