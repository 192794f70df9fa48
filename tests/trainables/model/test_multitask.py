import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any, get_args

import numpy as np
import pytest
import torch

from trainables.config import TrialConfig
from trainables.config_parts import Pooling
from trainables.encoder_files import find_encoder
from trainables.model.multitask import MultitaskModel
from trainables.parts import ConfigError
from trainables.tasks import CS224N, TaskSet

Make = Callable[..., Any]


def build(**values: Any) -> MultitaskModel:
    config = TrialConfig().override({"encoder.name": "tiny", **{key.replace("__", "."): value for key, value in values.items()}})
    return MultitaskModel(config, find_encoder("tiny"), torch.Generator().manual_seed(0))


def kinds_of_task() -> TaskSet:
    """A task of each target, of single sentences and of pairs."""
    tasks = []
    for target, sentences in itertools.product(CS224N.tasks, CS224N.tasks[:2]):
        tree = target.model_dump() | {"sentence_columns": sentences.sentence_columns, "title": "-", "label_column": "label"}
        name = f"{target.target}_{len(sentences.sentence_columns)}"
        tasks.append(tree | {"name": name, "file_stem": name, "prediction_stem": name})
    return TaskSet.model_validate({"tasks": tasks})


def accepted(kind: str, pair_encoding: str) -> Iterator[tuple[TrialConfig, set[str]]]:
    """Configs that give a head of a kind to each task that may have it, and those tasks; the encoder pools otherwise."""
    tasks = kinds_of_task()
    for pooling, output in itertools.product([None, *get_args(Pooling)], ["identity", "relu", "sigmoid"]):
        head = {"kind": kind, "pooling": pooling, "output": output, "dropout": 0.0}
        tree = {"tasks": tasks, "encoder": {"name": "tiny", "pair_encoding": pair_encoding, "pooling": "mean", "dropout": 0.0}}
        names = set(tasks.names)
        try:
            yield TrialConfig.parse({**tree, "heads": dict.fromkeys(names, head)}), names
        except ConfigError as error:
            names -= {re.match(r"heads\.(\w+)", problem)[1] for problem in error.problems}
            if names:
                yield TrialConfig.parse({**tree, "heads": dict.fromkeys(names, head)}), names


NUM_ACCEPTED = {
    ("linear", "cross"): 50,
    ("linear", "bi"): 50,
    ("mlp", "cross"): 50,
    ("mlp", "bi"): 50,
    ("conv1d", "cross"): 10,
    ("conv1d", "bi"): 5,
    ("abs_difference", "cross"): 0,
    ("abs_difference", "bi"): 25,
    ("cosine", "cross"): 0,
    ("cosine", "bi"): 10,
    ("compress_expand", "cross"): 0,
    ("compress_expand", "bi"): 10,
}
"""5 poolings (conv1d: 1) of 2 tasks of each target, scores with 3 outputs (2 of a cosine); pairs alone for two sentences."""


@pytest.mark.parametrize(("kind", "pair_encoding"), NUM_ACCEPTED)
def test_every_head_that_a_config_accepts_predicts_each_example_alone_and_learns(
    make_batch: Make, kind: str, pair_encoding: str
) -> None:
    files, num_tried = find_encoder("tiny"), 0
    for config, names in accepted(kind, pair_encoding):
        num_tried += len(names)
        model = MultitaskModel(config, files, torch.Generator().manual_seed(0))
        batches = []
        for task in (config.tasks.by_name[name] for name in sorted(names)):
            lengths = [4, 9, 2, 5, 6, 20] if task.is_pair and pair_encoding == "bi" else [4, 20, 2]
            batches.append(dataclasses.replace(make_batch("sst", lengths, num_examples=3), task=task))
        out = model(batches, generator=torch.Generator())
        alone = [model([example(batch, i) for batch in batches], generator=None) for i in range(3)]
        for name, predictions in out.items():
            assert predictions.shape == ((3, 5) if config.tasks.by_name[name].target == "classes" else (3,))
            torch.testing.assert_close(torch.cat([one[name] for one in alone]), predictions, rtol=1e-4, atol=1e-5)
            layers, head = list(model.encoder.layers.parameters()), list(model.heads[name].parameters())
            gradients = torch.autograd.grad(predictions.square().sum(), [*layers, *head], retain_graph=True)
            assert all(torch.isfinite(gradient).all() for gradient in gradients)
            assert sum(gradient.abs().sum() for gradient in gradients[: len(layers)]) > 0
    assert num_tried == NUM_ACCEPTED[kind, pair_encoding]


def example(batch: Any, number: int) -> Any:
    """One example of a batch, alone."""
    sequences = np.arange(number, len(batch.lengths), batch.num_examples)
    ends = np.cumsum(batch.lengths)
    rows = np.concatenate([np.arange(ends[i] - batch.lengths[i], ends[i]) for i in sequences])
    return dataclasses.replace(
        batch,
        token_ids=batch.token_ids[rows],
        segment_ids=batch.segment_ids[rows],
        lengths=batch.lengths[sequences],
        num_examples=1,
        labels=None,
    )


HEADS_OF_EACH_TASK = {
    "sst": {"kind": "conv1d"},
    "qqp": {"kind": "abs_difference", "pooling": "max"},
    "sts": {"kind": "compress_expand", "pooling": "cls"},
}


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_one_pass_over_all_tasks_equals_a_pass_for_each(make_batch: Make, pooling: str) -> None:
    model = build(encoder__pooling=pooling)
    batches = [make_batch("sst", [4, 9, 2]), make_batch("qqp", [30, 3]), make_batch("sts", [7, 7, 7, 1])]
    together = model(batches, generator=None)
    assert {name: tuple(out.shape) for name, out in together.items()} == {"sst": (3, 5), "qqp": (2,), "sts": (4,)}
    for batch in batches:
        alone = model([batch], generator=None)[batch.task.name]
        torch.testing.assert_close(alone, together[batch.task.name], rtol=1e-4, atol=1e-5)


def test_an_example_is_alone_in_its_batch(make_batch: Make, pieces_of: Make) -> None:
    model, batch = build(), make_batch("sst", [4, 9, 2, 20])
    alone = torch.cat([model([piece], generator=None)["sst"] for piece in pieces_of(batch)])
    torch.testing.assert_close(alone, model([batch], generator=None)["sst"], rtol=1e-4, atol=1e-5)


def test_heads_of_different_kinds_share_a_pass_and_give_their_sentences(make_batch: Make) -> None:
    model = build(encoder__pair_encoding="bi", encoder__pooling="mean", heads=HEADS_OF_EACH_TASK)
    batches = [make_batch("sst", [4, 9]), make_batch("qqp", [30, 3, 5, 5], num_examples=2), make_batch("sts", [7, 1])]
    batches[2] = dataclasses.replace(batches[2], num_examples=1)
    pooled: dict[str, torch.Tensor] = {}
    together = model(batches, generator=None, sentences=pooled)
    for batch in batches:
        alone = model([batch], generator=None)[batch.task.name]
        torch.testing.assert_close(alone, together[batch.task.name], rtol=1e-4, atol=1e-5)
    width = model.encoder.hidden_size
    assert {name: tuple(vectors.shape) for name, vectors in pooled.items()} == {"qqp": (4, width), "sts": (2, width)}
    u, v = pooled["sts"]
    head = model.heads["sts"]
    torch.testing.assert_close(head(u[None], v[None], None).squeeze(1), together["sts"])


def test_only_steps_whose_every_head_reads_cls_spare_the_other_tokens(make_batch: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(heads={"qqp": {"pooling": "max"}, "sts": {"kind": "conv1d"}})
    asked, forward = [], model.encoder.forward

    def spy(*args: Any, first_tokens_only: bool, **kwargs: Any) -> Any:
        asked.append(first_tokens_only)
        return forward(*args, first_tokens_only=first_tokens_only, **kwargs)

    monkeypatch.setattr(model.encoder, "forward", spy)
    batches = [make_batch(name, [4, 9]) for name in ("sst", "qqp", "sts")]
    for chosen in (batches[:1], batches[:2], batches[1:2], [batches[0], batches[2]]):
        model(chosen, generator=None)
    assert asked == [True, False, False, False]


def test_heads_alone_leave_the_encoder_without_gradient_and_dropout(make_batch: Make) -> None:
    model, batch = build(), make_batch("sst", [4, 9])
    model.set_trainable("heads")
    model([batch], generator=torch.Generator())["sst"].sum().backward()
    assert all(weight.grad is None for weight in model.encoder.parameters())
    assert model.heads["sst"].output.weight.grad is not None
    state = torch.Generator().manual_seed(0)
    model.heads["sst"].dropout = 0.0
    assert torch.equal(model([batch], generator=state)["sst"], model([batch], generator=None)["sst"])
    model.set_trainable("everything")
    assert not torch.equal(model([batch], generator=state)["sst"], model([batch], generator=None)["sst"])
    assert all(weight.requires_grad for name, weight in model.encoder.named_parameters() if "pooler" not in name)


def test_a_task_without_a_turn_gets_no_gradient(make_batch: Make) -> None:
    model = build()
    model([make_batch("sst", [4, 9])], generator=None)["sst"].sum().backward()
    assert model.heads["qqp"].output.weight.grad is None
    assert model.heads["sst"].output.weight.grad is not None


def test_frozen_layers_have_neither_gradient_nor_dropout_and_those_above_have_both(make_batch: Make) -> None:
    model, batch = build(encoder__dropout=0.3, **{"heads.*.dropout": 0.0}), make_batch("sst", [4, 9])
    num_layers = len(model.encoder.layers)
    fixed: list[torch.Tensor] = []
    model.encoder.layers[0].register_forward_hook(lambda module, args, out: fixed.append(out))
    model.set_trainable("everything", 1)
    assert num_layers == 2
    one, two = (model([batch], generator=torch.Generator().manual_seed(seed))["sst"] for seed in (0, 1))
    assert torch.equal(*fixed)
    assert not fixed[0].requires_grad
    assert not torch.equal(one, two)
    one.sum().backward()
    frozen = {"word_embeddings", "position_embeddings", "segment_embeddings", "embedding_norm", "layers.0", "pooler"}
    for name, weight in model.encoder.named_parameters():
        assert (weight.grad is None) == any(name.startswith(part) for part in frozen), name


def test_all_layers_frozen_is_heads_alone(make_batch: Make) -> None:
    model, batch = build(), make_batch("sst", [4, 9])
    state = {}
    for name, (what, frozen_layers) in {"one": ("heads", 0), "two": ("everything", 2), "three": ("heads", 1)}.items():
        model.set_trainable("everything")
        model.set_trainable(what, frozen_layers)
        out = model([batch], generator=torch.Generator().manual_seed(0))["sst"]
        state[name] = (out.tolist(), [weight.requires_grad for weight in model.parameters()])
    assert state["one"] == state["two"] == state["three"]


def test_embeddings_from_outside_get_their_gradient_through_frozen_layers(make_batch: Make) -> None:
    model, batch = build(encoder__dropout=0.0), make_batch("sst", [4, 9])
    gradients = []
    for frozen_layers in (0, 1, 2):
        model.set_trainable("everything", frozen_layers)
        embeddings = model.embed([batch]).detach().requires_grad_()
        model([batch], generator=None, embeddings=embeddings)["sst"].square().sum().backward()
        gradients.append(embeddings.grad)
    assert gradients[0].abs().max() > 0
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


TWO_ENCODERS = {"encoder__copies": "singles_and_pairs"}
INTERLEAVED = (("qqp", [30, 3]), ("sst", [4, 9, 2]), ("sts", [7, 7, 7, 3]))


@pytest.fixture
def interleaved(make_batch: Make) -> list[Any]:
    return [make_batch(name, lengths) for name, lengths in INTERLEAVED]


def disturb_pairs(model: MultitaskModel) -> None:
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.encoder_pairs.parameters():
            weight.add_(torch.randn(weight.shape, generator=chance), alpha=0.05)


def test_two_encoders_begin_as_one_did_with_the_same_heads(interleaved: list[Any]) -> None:
    one, two = build(), build(**TWO_ENCODERS)
    assert one.encoder_pairs is None
    assert all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())
    pairs = two.encoder_pairs.state_dict()
    assert all(torch.equal(tensor, pairs[name]) for name, tensor in one.encoder.state_dict().items())
    torch.testing.assert_close(one(interleaved, generator=None), two(interleaved, generator=None), rtol=1e-4, atol=1e-5)


def test_pairs_are_read_by_their_encoder_and_single_sentences_by_the_other(interleaved: list[Any]) -> None:
    model, plain = build(**TWO_ENCODERS), build()
    disturb_pairs(model)
    for chosen in (interleaved, interleaved[:2], interleaved[1:], interleaved[:1], interleaved[1:2]):
        together = model(chosen, generator=None)
        assert list(together) == [batch.task.name for batch in chosen]
        for batch in chosen:
            plain.encoder = model.encoder_pairs if batch.task.is_pair else model.encoder
            alone = plain([batch], generator=None)[batch.task.name]
            torch.testing.assert_close(alone, together[batch.task.name], rtol=1e-4, atol=1e-5)
            other = {"sst": "encoder_pairs"}.get(batch.task.name, "encoder")
            plain.encoder = model.encoders[other]
            assert not torch.allclose(plain([batch], generator=None)[batch.task.name], alone, rtol=1e-3)


def test_each_of_two_encoders_passes_once_a_step(interleaved: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model, passes = build(**TWO_ENCODERS), []
    for name, encoder in model.encoders.items():
        forward = encoder.forward
        monkeypatch.setattr(
            encoder, "forward", lambda *args, n=name, f=forward, **kwargs: passes.append((n, len(args[2]))) or f(*args, **kwargs)
        )
    model(interleaved, generator=None)
    assert passes == [("encoder", 3), ("encoder_pairs", 6)]
    passes.clear()
    model(interleaved[:1], generator=None)
    assert passes == [("encoder_pairs", 2)]


def test_embeddings_of_two_encoders_are_in_the_order_of_the_batches(interleaved: list[Any]) -> None:
    model = build(**TWO_ENCODERS)
    disturb_pairs(model)
    embeddings = model.embed(interleaved)
    torch.testing.assert_close(torch.cat([model.embed([batch]) for batch in interleaved]), embeddings)
    plain = model(interleaved, generator=torch.Generator().manual_seed(3))
    given = model(interleaved, generator=torch.Generator().manual_seed(3), embeddings=embeddings)
    assert all(torch.equal(plain[task], given[task]) for task in plain)
    start, end = (sum(sum(lengths) for _, lengths in INTERLEAVED[:number]) for number in (1, 2))
    (gradient,) = torch.autograd.grad(given["sst"].sum(), embeddings, retain_graph=True)
    reached = gradient.abs().sum(1) > 0
    assert reached[start:end].all()
    assert reached.sum() == end - start
    sum(predictions.square().sum() for predictions in given.values()).backward()
    for encoder in model.encoders.values():
        assert all(weight.grad is not None for weight in encoder.parameters() if weight.requires_grad)


@pytest.mark.parametrize(("what", "frozen_layers"), [("everything", 1), ("heads", 0)])
def test_both_encoders_are_frozen_alike(what: str, frozen_layers: int) -> None:
    model, one = build(**TWO_ENCODERS), build()
    for _ in range(2):
        model.set_trainable(what, frozen_layers)
        one.set_trainable(what, frozen_layers)
        moving = [name for name, weight in one.encoder.named_parameters() if weight.requires_grad]
        for encoder in model.encoders.values():
            assert [name for name, weight in encoder.named_parameters() if weight.requires_grad] == moving
        what, frozen_layers = "everything", 0


@pytest.mark.parametrize("pair_encoding", ["cross", "bi"])
@pytest.mark.parametrize("copies", ["one", "singles_and_pairs"])
def test_of_two_cls_tokens_single_sentences_pool_the_first_and_pairs_the_second(
    make_batch: Make, pair_encoding: str, copies: str
) -> None:
    options = {"encoder__pair_encoding": pair_encoding, "encoder__copies": copies}
    model = build(encoder__cls_tokens=2, **options, heads={"sts": {"pooling": "mean"}})
    batches = [make_batch("qqp", [30, 3, 5, 8]), make_batch("sst", [4, 9, 3]), make_batch("sts", [7, 4])]
    if pair_encoding == "bi":
        batches = [dataclasses.replace(batch, num_examples=len(batch.lengths) // 2) for batch in batches]
    for chosen in (batches, batches[:2], batches[:1], batches[1:2]):  # the first and third with all tokens, the others without
        sentences: dict[str, torch.Tensor] = {}
        model(chosen, generator=None, sentences=sentences)
        for batch in chosen[:2]:
            encoder = model.encoders["encoder_pairs" if copies != "one" and batch.task.is_pair else "encoder"]
            hidden = encoder(batch.token_ids, batch.segment_ids, batch.lengths, generator=None)
            expected = hidden.states[hidden.starts + int(batch.task.is_pair)]
            torch.testing.assert_close(sentences[batch.task.name], expected, rtol=1e-4, atol=1e-5)


def test_adapters_leave_the_heads_as_they_are_drawn_and_the_predictions(interleaved: list[Any]) -> None:
    for copies in ("one", "singles_and_pairs"):
        plain, adapted = build(encoder__copies=copies), build(encoder__copies=copies, encoder__lora={"rank": 2})
        assert all(torch.equal(tensor, adapted.state_dict()[name]) for name, tensor in plain.state_dict().items())
        expected, ours = plain(interleaved, generator=None), adapted(interleaved, generator=None)
        assert all(torch.equal(predictions, ours[task]) for task, predictions in expected.items())
    drawn = [encoder.layers[0].query.lora_a for encoder in adapted.encoders.values()]
    assert not torch.equal(*drawn)
