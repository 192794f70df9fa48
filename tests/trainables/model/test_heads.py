import pytest
import torch

from trainables.config import HeadConfig
from trainables.model.heads import HEADS, pair_features
from trainables.tasks import CS224N


def build(kind: str, task: str = "sst", dropout: float = 0.0, seed: int = 0) -> torch.nn.Module:
    config = HeadConfig(kind=kind, dropout=dropout)
    return HEADS[kind](8, CS224N.by_name[task], config, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("task", CS224N.by_name)
class TestEveryHead:
    def test_gives_one_row_an_example(self, kind: str, task: str) -> None:
        out = build(kind, task)(torch.randn(3, 8), None)
        assert out.shape == (3, CS224N.by_name[task].num_outputs)
        assert torch.isfinite(out).all()

    def test_its_seed_decides_its_weights(self, kind: str, task: str) -> None:
        before = torch.get_rng_state()
        one, two, other = (build(kind, task, seed=seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert not torch.equal(one["output.weight"], other["output.weight"])
        assert torch.equal(before, torch.get_rng_state())

    def test_starts_at_the_middle_of_a_score_and_at_0_else(self, kind: str, task: str) -> None:
        bias = build(kind, task).output.bias
        assert bias.tolist() == [2.5 if task == "sts" else 0.0] * CS224N.by_name[task].num_outputs

    def test_dropout_is_drawn_in_training_only(self, kind: str, task: str) -> None:
        head, features = build(kind, task, dropout=0.5), torch.randn(64, 8)
        assert torch.equal(head(features, None), head(features, None))
        assert not torch.equal(head(features, torch.Generator().manual_seed(1)), head(features, None))


def test_mlp_is_32_wide_or_as_told() -> None:
    assert build("mlp").hidden.out_features == 32
    config = HeadConfig(kind="mlp", hidden_size=5)
    assert HEADS["mlp"](8, CS224N.by_name["sst"], config, torch.Generator()).hidden.out_features == 5


def test_pair_features_are_u_v_and_their_distance() -> None:
    assert pair_features(torch.tensor([[1.0, 5.0]]), torch.tensor([[4.0, 3.0]])).tolist() == [[1, 5, 4, 3, 3, 2]]
