import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.balancing.gradients import pcgrad, projections, take_gradients

SHAPES = ((3, 2), (4,), ())


def draw_gradients(seed: int, tasks: int = 3, pull: float = 0.0) -> dict[str, list[torch.Tensor]]:
    """Random gradients of weights of `SHAPES`; `pull` is what all tasks have in common."""
    rng = np.random.default_rng(seed)
    common = [rng.standard_normal(shape) for shape in SHAPES]
    return {
        f"task{task}": [
            torch.tensor(rng.standard_normal(shape) + pull * part) for shape, part in zip(SHAPES, common, strict=True)
        ]
        for task in range(tasks)
    }


def flat(gradients: list[torch.Tensor]) -> np.ndarray:
    return np.concatenate([gradient.to_dense().double().numpy().ravel() for gradient in gradients])


def run(gradients: dict[str, list[torch.Tensor]], seed: int = 0) -> tuple[np.ndarray, dict[str, float]]:
    weights = [torch.zeros_like(gradient) for gradient in next(iter(gradients.values()))]
    copies = {task: [gradient.clone() for gradient in of_task] for task, of_task in gradients.items()}
    out = pcgrad(weights, copies, np.random.default_rng(seed))
    return flat([weight.grad for weight in weights]), {name: value.item() for name, value in out.items()}


def projected(gradients: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Algorithm 1 of the paper, line by line."""
    rng = np.random.default_rng(seed)
    out = []
    for i, gradient in enumerate(gradients):
        inner = gradient.copy()
        for j in rng.permutation([j for j in range(len(gradients)) if j != i]):
            if inner @ gradients[j] < 0:
                inner -= inner @ gradients[j] / (gradients[j] @ gradients[j]) * gradients[j]
        out.append(inner)
    return out


@given(st.integers(0, 1000), st.integers(2, 5), st.sampled_from([0.0, 0.5]))
def test_it_is_the_papers_loop_over_the_same_order(seed: int, tasks: int, pull: float) -> None:
    gradients = draw_gradients(seed, tasks, pull)
    plain = [flat(of_task) for of_task in gradients.values()]
    after = projected(plain, seed)
    total, diagnostics = run(gradients, seed)
    np.testing.assert_allclose(total, sum(after), atol=1e-12)
    pairs = list(itertools.combinations(plain, 2))
    assert diagnostics["conflict_share"] == pytest.approx(sum(a @ b < 0 for a, b in pairs) / len(pairs))
    for task, one, two in zip(gradients, plain, after, strict=True):
        change = np.linalg.norm(two) / np.linalg.norm(one) - 1
        assert diagnostics[f"gradient_change_{task}"] == pytest.approx(change, abs=1e-9)


def test_the_order_is_drawn() -> None:
    gradients = next(g for g in map(draw_gradients, range(100)) if run(g)[1]["conflict_share"] == 1)
    totals = [run(gradients, seed)[0] for seed in range(8)]
    assert np.array_equal(totals[0], run(gradients, 0)[0])
    assert any(not np.allclose(totals[0], total) for total in totals)


@given(st.integers(0, 1000))
def test_agreeing_gradients_are_left_as_they_are(seed: int) -> None:
    gradients = draw_gradients(seed, pull=10.0)
    total, diagnostics = run(gradients)
    np.testing.assert_allclose(total, sum(flat(of_task) for of_task in gradients.values()))
    assert diagnostics == dict.fromkeys(diagnostics, 0.0)


@given(st.integers(0, 1000))
def test_each_of_two_conflicting_gradients_becomes_orthogonal_to_the_other(seed: int) -> None:
    one, other = (torch.tensor(flat(of_task)) for of_task in draw_gradients(seed, tasks=2).values())
    other = other if one @ other < 0 else -other
    gradients = torch.stack([one, other])
    after = projections(gradients @ gradients.T, np.random.default_rng(0)) @ gradients
    assert abs(float(after[0] @ other)) < 1e-10
    assert abs(float(after[1] @ one)) < 1e-10
    assert after.norm(dim=1).le(gradients.norm(dim=1)).all()


def test_by_hand() -> None:
    total, diagnostics = run({"a": [torch.tensor([2.0, 0.0])], "b": [torch.tensor([-1.0, 1.0])]})
    # a + b / 2 * 2 = (1, 1); b + a / 2 = (0, 1)
    assert total.tolist() == [1.0, 2.0]
    assert diagnostics["conflict_share"] == 1
    assert diagnostics["gradient_change_a"] == pytest.approx(2**0.5 / 2 - 1)
    assert diagnostics["gradient_change_b"] == pytest.approx(1 / 2**0.5 - 1)


def test_a_task_without_a_gradient_changes_nothing() -> None:
    total, diagnostics = run({"a": [torch.tensor([2.0, 0.0])], "b": [torch.zeros(2)]})
    assert total.tolist() == [2.0, 0.0]
    assert diagnostics == {"conflict_share": 0.0, "gradient_change_a": 0.0, "gradient_change_b": 0.0}


def test_what_one_task_alone_reaches_is_kept_and_not_counted() -> None:
    shared, head, unused = torch.zeros(2), torch.zeros(2), torch.zeros(2)
    mine = torch.tensor([5.0, 7.0])
    gradients = {"a": [torch.tensor([1.0, 0.0]), mine, None], "b": [torch.tensor([-1.0, 1.0]), None, None]}
    pcgrad([shared, head, unused], gradients, np.random.default_rng(0))
    assert head.grad is mine
    assert mine.tolist() == [5.0, 7.0]
    assert unused.grad is None
    assert shared.grad.tolist() == [0.5, 1.5]


def test_nothing_shared_nothing_measured() -> None:
    one, two = torch.zeros(2), torch.zeros(2)
    gradients = {"a": [torch.ones(2), None], "b": [None, -torch.ones(2)]}
    assert pcgrad([one, two], gradients, np.random.default_rng(0)) == {}
    assert one.grad.tolist() == [1.0, 1.0]
    assert two.grad.tolist() == [-1.0, -1.0]


def test_a_weight_that_some_tasks_reach_counts_as_zero_for_the_others() -> None:
    some = {"a": [torch.tensor([1.0]), torch.tensor([1.0])], "b": [torch.tensor([-1.0]), torch.tensor([1.0])]}
    total, diagnostics = run({**some, "c": [torch.tensor([0.5]), torch.zeros(1)]}, seed=3)
    weights = [torch.zeros(1), torch.zeros(1)]
    out = pcgrad(weights, {**some, "c": [torch.tensor([0.5]), None]}, np.random.default_rng(3))
    assert flat([weight.grad for weight in weights]).tolist() == total.tolist()
    assert {name: value.item() for name, value in out.items()} == diagnostics


@given(st.integers(0, 1000))
def test_rows_give_what_the_dense_table_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense, sparse = torch.nn.Embedding(9, 3), torch.nn.Embedding(9, 3, sparse=True)
    gradients: dict[str, dict[str, list[torch.Tensor]]] = {"dense": {}, "sparse": {}}
    for task in ("a", "b", "c"):
        ids, factors = torch.tensor(rng.integers(0, 9, 4)), torch.tensor(rng.standard_normal((4, 3)), dtype=torch.float32)
        for kind, table in (("dense", dense), ("sparse", sparse)):
            (table(ids) * factors).sum().backward()
            gradients[kind][task] = take_gradients([table.weight])
            assert table.weight.grad is None
    results = [pcgrad([t.weight], gradients[k], np.random.default_rng(1)) for k, t in (("dense", dense), ("sparse", sparse))]
    assert sparse.weight.grad.is_sparse
    assert sparse.weight.grad.is_coalesced()
    torch.testing.assert_close(sparse.weight.grad.coalesce().to_dense(), dense.weight.grad)
    torch.testing.assert_close(results[0], results[1])


def test_gradients_are_combined_where_they_lie() -> None:
    gradients = draw_gradients(1)
    first = gradients["task0"][0]
    weights = [torch.zeros(shape, dtype=torch.float64) for shape in SHAPES]
    pcgrad(weights, gradients, np.random.default_rng(0))
    assert weights[0].grad is first
