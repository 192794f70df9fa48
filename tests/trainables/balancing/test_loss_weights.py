import torch

from trainables.balancing.loss_weights import weighted_sum


def test_it_is_the_weighted_sum_of_the_tasks_at_hand() -> None:
    losses = {"sst": torch.tensor(2.0), "sts": torch.tensor(3.0)}
    assert weighted_sum(losses, {"sst": 1.0, "qqp": 100.0, "sts": 0.5}).item() == 3.5
