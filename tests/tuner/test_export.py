"""A search of trials that never trained: their weights are tiny models as they begin, their reports what those score."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from trainables.checkpoints import write_checkpoint
from trainables.config import TrialConfig
from trainables.data.tokens import tokenise
from trainables.encoder_files import find_encoder
from trainables.evaluation import evaluate
from trainables.model.files import load_model, save_model
from trainables.model.multitask import MultitaskModel
from trainables.storage import Storage, StorageError
from tuner import search_folder
from tuner.export import FILES, ExportError, app, choose, export_best
from tuner.ledger import Ledger
from tuner.records import rank
from tuner.stored_trials import PLACE

NUM_TRIALS = 3


@pytest.fixture(scope="module")
def finished(toy: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trials 0 and 1 are complete and have their weights, trial 2 has a report and none."""
    folder = tmp_path_factory.mktemp("runs") / "search"
    ledger = toy.new_ledger(folder)
    for number in range(NUM_TRIALS):
        asked = ledger.ask(toy.space, toy.base, optuna.samplers.RandomSampler(seed=number), {"seed": 7})
        best, config = search_folder.trial_folder(folder, number) / "best", TrialConfig.parse(asked.config)
        save_model(
            MultitaskModel(config, find_encoder("tiny"), torch.Generator().manual_seed(number)), find_encoder("tiny"), best
        )
        metrics = evaluate(load_model(best)[1], tokenise(config.data, config.encoder)).metrics
        report = toy.report(3, metrics["score"]) | metrics
        (best / "metrics.json").write_text(json.dumps(report))
        ledger.report(number, report)
        ledger.tell(number, "complete")
    shutil.rmtree(search_folder.trial_folder(folder, 2))
    return folder


@pytest.fixture
def search(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "search")


def run(*args: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    return done.exit_code, done.stdout, done.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def trial_in(export: Path) -> int:
    return int(json.loads((export / "metrics.json").read_text())["trial"])


def test_the_best_with_weights_goes_to_best(search: Path) -> None:
    records = Ledger.open(search).records()
    winner = max(records[:2], key=lambda record: record.score)
    code, said, _ = run(search)
    assert code == 0
    assert said == f"{search / 'best'}: trial {winner.number}, score {winner.score:.4f}; loaded again, it scores the same\n"
    assert sorted(path.name for path in (search / "best").iterdir()) == sorted(FILES)
    assert trial_in(search / "best") == winner.number


def test_the_trial_asked_for_goes_where_it_is_asked_to_go(search: Path, tmp_path: Path) -> None:
    best, _ = export_best(search)
    loser = 1 - trial_in(best)
    before, out = contents(best), tmp_path / "new" / "mine"
    assert run(search, "--trial", str(loser), "--out", out)[0] == 0
    assert trial_in(out) == loser
    assert contents(best) == before
    kept = contents(out)
    assert run(search, "--out", out)[0] == 0
    assert contents(out) == before and contents(out) != kept


def test_the_trial_asked_for_does_not_pass_for_the_best(search: Path) -> None:
    best, _ = export_best(search)
    loser, before = 1 - trial_in(best), contents(best)
    code, said, _ = run(search, "--trial", str(loser))
    out = search / f"export-{loser:04d}"
    assert code == 0 and said.startswith(f"{out}: trial {loser}, score ")
    assert trial_in(out) == loser and contents(best) == before
    assert "asked for by its number" in (out / "README.md").read_text()
    assert "to choose this model among all trials" in (best / "README.md").read_text()


def hold_my_file(out: Path) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("mine")


def be_my_file(out: Path) -> None:
    out.write_text("mine")


def be_an_export_with_my_file(out: Path) -> None:
    for name in FILES:
        (out / name).mkdir(parents=True)
    (out / "thesis.txt").write_text("mine")


def be_a_link(out: Path) -> None:
    (out.parent / "elsewhere").mkdir()
    out.symlink_to(out.parent / "elsewhere")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (hold_my_file, "it holds thesis.txt"),
        (be_an_export_with_my_file, "it holds thesis.txt"),
        (be_my_file, "is a file"),
        (be_a_link, "is a link"),
        (lambda out: (out / "encoder").mkdir(parents=True), "not an export (it has no README.md)"),
    ],
)
def test_nothing_of_somebody_elses_is_written_over(
    search: Path, tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    out = tmp_path / "out"
    make(out)
    before = (out.is_symlink(), out.is_dir() and contents(out))
    code, _, said = run(search, "--trial", "7", "--out", out)
    assert code == 2
    assert words in said and "has no trial 7; its trials are 0 to 2" in said
    assert (out.is_symlink(), out.is_dir() and contents(out)) == before


def test_an_empty_folder_will_do(search: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert export_best(search, trial=0, out=tmp_path / "out")[1].number == 0
    assert trial_in(tmp_path / "out") == 0


def test_a_trial_whose_weights_are_gone_is_refused(search: Path) -> None:
    with pytest.raises(ExportError, match=r"weights of trial 2's best report are not there; those of trials 0, 1 are"):
        export_best(search, trial=2)


def test_a_trial_without_a_report_is_refused(search: Path, toy: object, ask: Callable[..., int]) -> None:
    ledger = Ledger.open(search)
    number = ask(ledger)
    with pytest.raises(ExportError, match=rf"trial {number} \(running\) has no report"):
        choose(search, ledger.records(), number)


def test_weights_that_score_something_else_change_nothing(search: Path) -> None:
    best, record = export_best(search)
    before, heads = contents(best), search_folder.trial_folder(search, record.number) / "best" / "heads.safetensors"
    save_file({name: -tensor for name, tensor in load_file(heads).items()}, heads)
    code, _, said = run(search)
    assert code == 2
    assert f"trial {record.number}: the exported model scores" in said
    assert contents(best) == before
    assert not list(search.glob(".best.*"))


def test_damaged_weights_are_passed_over_by_name(search: Path) -> None:
    first, second = (record for record in rank(Ledger.open(search).records()) if record.number < 2)
    for record in (first, second):
        best = search_folder.trial_folder(search, record.number) / "best"
        write_checkpoint(best.parent, "best", lambda aside, best=best: shutil.copytree(best, aside, dirs_exist_ok=True))
    damaged = search_folder.trial_folder(search, first.number) / "best" / "heads.safetensors"
    damaged.write_bytes(b"torn")
    code, said, _ = run(search)
    assert code == 0
    assert said.startswith(f"trial {first.number}: its weights are damaged ({damaged}: 4 bytes, but the manifest says")
    assert trial_in(search / "best") == second.number
    code, _, err = run(search, "--trial", first.number)
    assert code == 2 and str(damaged) in err


@pytest.mark.parametrize("content", [b"", b"{", b'{"score": "x"}', b"[]"])
def test_weights_whose_metrics_cannot_be_read_are_passed_over_by_name(search: Path, content: bytes) -> None:
    best = export_best(search)[1]
    metrics = search_folder.trial_folder(search, best.number) / "best" / "metrics.json"
    metrics.write_bytes(content)
    code, said, _ = run(search)
    assert code == 0
    assert said.startswith(f"trial {best.number}: its weights are damaged ({metrics}: cannot be read); the next best is exported")


@pytest.mark.parametrize("loss", ["gone", "damaged"])
def test_the_only_copy_of_the_best_is_not_written_over(search: Path, loss: str) -> None:
    best, record = export_best(search)
    before, kept = contents(best), search_folder.trial_folder(search, record.number) / "best"
    if loss == "gone":
        shutil.rmtree(kept)
    else:
        (kept / "metrics.json").write_bytes(b"")
    code, said, _ = run(search)
    assert code == 0
    assert f"trial {record.number}: {best} alone still holds its model: that is exported again\n" in said
    assert {name: content for name, content in contents(best).items() if name.endswith(".safetensors")} == {
        name: content for name, content in before.items() if name.endswith(".safetensors")
    }
    assert trial_in(best) == record.number
    (best / "metrics.json").write_text('{"trial": 99}')
    assert run(search)[0] == 0 and trial_in(best) == 1 - record.number


@pytest.fixture
def stored(finished: Path, tmp_path: Path) -> tuple[Path, Storage]:
    """The search with its weights in a storage instead of its folder."""
    folder = shutil.copytree(finished, tmp_path / "search")
    ledger, uri = Ledger.open(folder), f"file://{tmp_path}/storage"
    ledger.set_header("settings", {**ledger.header.get("settings", {}), "storage": uri})
    ledger.set_header(PLACE, "mine")
    storage = Storage(f"{uri}/mine")
    for number in (0, 1):
        best = search_folder.trial_folder(folder, number) / "best"
        sealed = write_checkpoint(tmp_path, "sealed", lambda made, best=best: shutil.copytree(best, made, dirs_exist_ok=True))  # type: ignore[misc]
        storage.put(sealed, f"trials/{number:04d}/best/report-0003")
        shutil.rmtree(best)
    return folder, storage


def test_a_model_that_is_stored_is_fetched(stored: tuple[Path, Storage], finished: Path, tmp_path: Path) -> None:
    folder, _ = stored
    shutil.copytree(finished, tmp_path / "other")
    best, record = export_best(folder)
    assert (trial_in(best), record.number) == (trial_in(export_best(tmp_path / "other")[0]), trial_in(best))
    loser = 1 - record.number
    assert run(folder, "--trial", str(loser))[0] == 0
    assert trial_in(folder / f"export-{loser:04d}") == loser


def test_a_stored_model_that_is_damaged_or_gone_is_passed_over_and_told(stored: tuple[Path, Storage]) -> None:
    folder, storage = stored
    winner = export_best(folder)[1].number
    shutil.rmtree(search_folder.trial_folder(folder, winner))
    shutil.rmtree(folder / "best")
    storage.write(f"trials/{winner:04d}/best/report-0003/heads.safetensors", b"")
    lines: list[str] = []
    assert export_best(folder, say=lines.append)[1].number == 1 - winner
    assert f"trial {winner}: its weights are damaged (file://" in lines[0]
    code, _, said = run(folder, "--trial", str(winner))
    assert code == 2 and "--trial: the weights are damaged" in said
    storage.remove(f"trials/{winner:04d}/best")
    code, _, said = run(folder, "--trial", str(winner))
    assert code == 2 and f"those of trials {1 - winner} are" in said


def test_a_storage_that_is_gone_is_told(stored: tuple[Path, Storage], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = stored
    monkeypatch.setattr("tuner.stored_trials._PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(Storage, "sealed", lambda self, _name: (_ for _ in ()).throw(StorageError(self.uri, "timed out")))
    code, _, said = run(folder)
    assert code == 2 and "the storage cannot be used" in said
