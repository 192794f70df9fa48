import json
from pathlib import Path

import numpy as np
import pytest
import torch

from trainables import precision
from trainables.config import TrialConfig
from trainables.encoder_files import find_encoder
from trainables.evaluation import evaluate
from trainables.files import cache_folder
from trainables.model.encoder import Encoder
from trainables.model.files import load_model
from trainables.precision import allow_tf32, choose, measure, multiplying, resolve
from trainables.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITUNE_CACHE", str(tmp_path / "cache"))


def test_what_is_asked_by_name_is_not_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "measure", lambda *_: pytest.fail("measured"))
    for asked in ("fp32", "tf32", "bf16"):
        found = resolve(asked, 32, CPU)
        assert (found.asked, found.chosen, found.seconds) == (asked, asked, {})


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"fp32": 1.0, "bf16": 30.0}, "fp32"),
        ({"fp32": 1.0, "bf16": 0.9}, "fp32"),  # not worth the last digits
        ({"fp32": 1.2, "bf16": 1.0}, "bf16"),
        ({"fp32": 1.0, "bf16": 0.2, "tf32": 0.3}, "bf16"),
        ({"fp32": 1.0, "bf16": 0.9, "tf32": 0.3}, "tf32"),
    ],
)
def test_the_fastest_is_chosen_where_it_pays(seconds: dict[str, float], chosen: str) -> None:
    assert choose(seconds) == chosen


def test_auto_measures_once_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def slow(hidden_size: int, device: torch.device) -> dict[str, float]:
        calls.append(hidden_size)
        return {"fp32": 1.0, "bf16": 0.25}

    monkeypatch.setattr(precision, "measure", slow)
    assert [resolve("auto", 32, CPU).chosen for _ in range(3)] == ["bf16"] * 3
    assert resolve("auto", 32, CPU).seconds == {"fp32": 1.0, "bf16": 0.25}
    assert calls == [32]
    resolve("auto", 64, CPU)
    assert calls == [32, 64]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seconds": 3}', '{"seconds": {"fp32": "x"}}', '{"seconds": {}}'])
def test_a_damaged_probe_is_made_again(content: str) -> None:
    first = resolve("auto", 32, CPU)
    [file] = (cache_folder() / "precision").glob("*.json")
    file.write_text(content)
    assert resolve("auto", 32, CPU).seconds.keys() == first.seconds.keys()
    assert json.loads(file.read_text())["seconds"].keys() == first.seconds.keys()


def test_a_probe_measures_what_there_is() -> None:
    seconds = measure(32, CPU)
    assert seconds.keys() == {"fp32", "bf16"}
    assert all(value > 0 for value in seconds.values())


def test_tf32_is_a_switch_of_the_process() -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        for name in ("tf32", "fp32", "bf16"):
            allow_tf32(name)
            assert torch.backends.cuda.matmul.allow_tf32 == (name == "tf32")
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def test_products_alone_run_in_bf16() -> None:
    x = torch.randn(4, 4)
    with multiplying("bf16", CPU):
        assert (x @ x).dtype == torch.bfloat16
    for name in ("fp32", "tf32"):
        with multiplying(name, CPU):
            assert (x @ x).dtype == torch.float32


def test_an_encoder_in_bf16_gives_nearly_the_same_in_fp32_numbers_and_has_nearly_the_same_gradients() -> None:
    files = find_encoder("tiny")
    lengths = np.array([5, 9, 3, 20])
    ids = torch.from_numpy(np.random.default_rng(0).integers(5, 400, lengths.sum()))
    states, gradients = {}, {}
    for name in ("fp32", "bf16"):
        encoder = Encoder.from_file(files.config, files.weights, dropout=0.1, precision=name)
        out = encoder(ids, torch.zeros_like(ids), lengths, generator=torch.Generator().manual_seed(0)).states
        out.square().sum().backward()
        assert out.dtype == torch.float32
        states[name] = out.detach()
        gradients[name] = {key: weight.grad.to_dense() for key, weight in encoder.named_parameters() if weight.grad is not None}
        assert all(gradient.dtype == torch.float32 for gradient in gradients[name].values())
    error = (states["bf16"] - states["fp32"]).norm() / states["fp32"].norm()
    assert 0 < error < 0.02
    total = torch.cat([g.flatten() for g in gradients["fp32"].values()])
    difference = torch.cat([g.flatten() for g in gradients["bf16"].values()]) - total
    assert 0 < difference.norm() / total.norm() < 0.05


def test_a_trial_trains_in_bf16_and_says_so(small_config: TrialConfig) -> None:
    plain = Trainer(small_config).advance()
    trainer = Trainer(small_config.override({"precision": "bf16"}))
    report = trainer.advance()
    assert trainer.applied is not None
    assert trainer.applied["precision"] == {"asked": "bf16", "chosen": "bf16", "seconds": {}}
    assert report["loss"] != plain["loss"]
    assert report["loss"] == pytest.approx(plain["loss"], rel=0.02)


def test_what_auto_chose_is_recorded_and_exported(
    small_config: TrialConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(precision, "measure", lambda *_: {"fp32": 1.0, "bf16": 0.25})
    trainer = Trainer(small_config.override({"precision": "auto"}))
    trainer.advance()
    assert trainer.applied is not None
    assert trainer.applied["precision"] == {"asked": "auto", "chosen": "bf16", "seconds": {"fp32": 1.0, "bf16": 0.25}}
    trainer.save_model(tmp_path)
    assert "precision: bf16" in (tmp_path / "config.yaml").read_text()


def test_what_was_begun_elsewhere_is_finished_in_its_precision(
    small_config: TrialConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = small_config.override({"precision": "auto", "objective.bregman.mu": 1.0})
    monkeypatch.setattr(precision, "probe", lambda *_: {"fp32": 1.0, "bf16": 0.25})
    there = Trainer(config)
    there.advance()
    there.save(tmp_path / "saved")
    monkeypatch.setattr(precision, "probe", lambda *_: {"fp32": 1.0, "bf16": 30.0})
    here = Trainer(config)
    assert here.config.precision == "fp32"
    here.load(tmp_path / "saved")
    assert here.config.precision == "bf16"
    assert here.advance()["loss"] == there.advance()["loss"]


def test_another_precision_by_name_does_not_go_on(small_config: TrialConfig, tmp_path: Path) -> None:
    trainer = Trainer(small_config.override({"precision": "bf16"}))
    trainer.save(tmp_path / "saved")
    with pytest.raises(ValueError, match="precision"):
        Trainer(small_config).load(tmp_path / "saved")


def test_what_is_saved_in_bf16_predicts_what_was_scored(small_config: TrialConfig, tmp_path: Path) -> None:
    trainer = Trainer(small_config.override({"precision": "bf16", "encoder.lora.rank": 4, "encoder.lora.alpha": 64.0}))
    trainer.advance()
    trainer.save_model(tmp_path)
    _, model = load_model(tmp_path)
    for split in ("train", "dev"):
        expected = evaluate(trainer.model, trainer.store, split).outputs
        found = evaluate(model, trainer.store, split).outputs
        assert all(np.array_equal(found[task], outputs) for task, outputs in expected.items())


def test_a_probe_draws_nothing_from_the_process() -> None:
    before = torch.get_rng_state()
    measure(32, CPU)
    assert torch.equal(torch.get_rng_state(), before)
