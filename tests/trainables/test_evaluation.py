import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables import evaluation
from trainables.config import TrialConfig
from trainables.data.tokens import TokenStore, tokenise
from trainables.encoder_files import find_encoder
from trainables.evaluation import decide, evaluate, metric, pearson, stratified_part
from trainables.model.multitask import MultitaskModel
from trainables.tasks import CS224N

numbers = st.floats(-1e3, 1e3, width=32)


@pytest.fixture(scope="module")
def store(small_config: TrialConfig) -> TokenStore:
    return tokenise(small_config.data, small_config.encoder)


@pytest.fixture(scope="module")
def model(small_config: TrialConfig) -> MultitaskModel:
    return MultitaskModel(small_config, find_encoder("tiny"), torch.Generator().manual_seed(0))


def test_predictions_come_in_the_order_of_the_rows(
    store: TokenStore, model: MultitaskModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(model, store)
    monkeypatch.setattr(evaluation, "MAX_TOKENS_PER_BATCH", 1)
    one_by_one = evaluate(model, store)
    for task in CS224N.by_name:
        np.testing.assert_allclose(whole.outputs[task], one_by_one.outputs[task], rtol=1e-4, atol=1e-5)
        assert len(whole.predictions[task]) == store.table(task, "dev").num_rows


def test_metrics_are_those_of_the_predictions(store: TokenStore, model: MultitaskModel) -> None:
    found = evaluate(model, store, "train")
    labels = {task: store.table(task, "train").labels for task in CS224N.by_name}
    for task in ("sst", "qqp"):
        assert found.metrics[f"{task}_accuracy"] == np.mean(found.predictions[task] == labels[task])
    assert found.metrics["sts_pearson"] == pytest.approx(np.corrcoef(found.predictions["sts"], labels["sts"])[0, 1], abs=1e-6)
    assert found.metrics["score"] == CS224N.score_of(found.metrics)


def test_evaluation_leaves_the_model_and_chance_alone(store: TokenStore, model: MultitaskModel) -> None:
    state = torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert evaluate(model, store).metrics == evaluate(model, store).metrics
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


@given(st.lists(st.integers(0, 4), min_size=2, max_size=300), st.floats(0.05, 1.0))
def test_a_part_holds_each_class_in_its_share(classes: list[int], share: float) -> None:
    labels = np.array(classes, dtype=np.float32)
    part = stratified_part(labels, share)
    assert len(part) == min(len(labels), max(2, round(share * len(labels))))
    assert list(part) == sorted(set(part.tolist()))
    for label in set(classes):
        expected = (labels == label).mean() * len(part)
        assert abs((labels[part] == label).sum() - expected) <= 1


def test_part_of_dev_is_scored_on_just_those_rows(store: TokenStore, model: MultitaskModel) -> None:
    whole, part = evaluate(model, store), evaluate(model, store, share=0.5)
    for name, task in CS224N.by_name.items():
        labels = store.table(name, "dev").labels
        assert labels is not None
        rows = stratified_part(labels, 0.5)
        np.testing.assert_allclose(part.outputs[name], whole.outputs[name][rows], rtol=1e-4, atol=1e-5)
        assert part.metrics[task.metric_key] == metric(task, part.outputs[name], labels[rows])


@given(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=30))
def test_pearson_is_numpys(pairs: list[tuple[float, float]]) -> None:
    x, y = np.array(pairs, dtype=np.float64).T
    found = pearson(x, y)
    assert -1 <= found <= 1
    if x.std() > 1e-3 and y.std() > 1e-3:
        assert found == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)


def test_pearson_of_a_constant_is_0_and_of_a_line_is_1() -> None:
    x = np.arange(5.0)
    assert pearson(np.ones(5, np.float32) * 2.7, x) == 0.0
    assert pearson(x, np.ones(5)) == 0.0
    assert pearson(3 * x + 1e6, x) == pytest.approx(1)
    assert pearson(-x, x) == pytest.approx(-1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("task", CS224N.tasks, ids=CS224N.by_name)
def test_an_output_that_is_not_finite_is_never_a_good_score(task: object, bad: float) -> None:
    outputs = np.zeros((4, 5) if task.target == "classes" else 4, dtype=np.float32)
    outputs[0] = bad
    assert np.isnan(metric(task, outputs, np.arange(4.0)))


def test_decisions() -> None:
    assert decide(CS224N.by_name["sst"], np.array([[0, 3, 1.0, 0, 0]])).tolist() == [1]
    assert decide(CS224N.by_name["qqp"], np.array([-0.1, 0.0, 0.1])).tolist() == [0, 0, 1]
    assert decide(CS224N.by_name["sts"], np.array([5.5])).tolist() == [5.5]
