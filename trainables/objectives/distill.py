"""Model merging: a student's predictions stay near those of teachers, models that were trained before, one a task.

`gamma * mean divergence(student(x), teacher(x))` is added to each such task's loss, with SMART's divergence
(`objective.smart.divergence`; squared difference for scores).

Source: studentbert, section 4.4: `L_s = L_gt + lambda_s L_siar + gamma L_teacher`.

Departures:
- `divergence: kl` is `KL(teacher || student)`; the paper's is symmetric.
- Nothing is said there of dropout: the student's predictions are those of its training pass, the teacher runs without.
- The teacher's predictions are not computed beside each batch but once, for all training rows (`trainables.teachers`); without
  dropout they are the same.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from trainables.data.batching import Batch
from trainables.objectives.losses import divergences


def teacher_terms(predictions: Mapping[str, Tensor], batches: Sequence[Batch], *, divergence: str) -> dict[str, Tensor]:
    """The mean divergence from the teacher, a scalar, of each task whose batch has a teacher's outputs.

    Args:
        predictions: the student's for `batches`, with gradient.
        batches: of the step.
        divergence: a name in `losses.DIVERGENCES`.
    """
    outputs = {batch.task.name: batch.teacher for batch in batches if batch.teacher is not None}
    references = {name: teacher.to(predictions[name].device) for name, teacher in outputs.items()}
    return divergences(divergence, [batch.task for batch in batches if batch.task.name in references], predictions, references)
