"""A search of trials that never trained: their weights are tiny models as they begin, their reports what those score."""

import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tests.tuner.confirmed_search import confirmed_search, found_of
from tests.tuner.trained_search import small_data, train_search
from trainables.checkpoints import verify, write_checkpoint
from trainables.config import TrialConfig
from trainables.data.sample import make_sample
from trainables.data.tokens import tokenise
from trainables.encoder_files import find_encoder
from trainables.evaluation import evaluate
from trainables.model.files import load_model, save_model
from trainables.model.multitask import MultitaskModel
from trainables.predict.__main__ import app as predict_app
from trainables.storage import Storage, StorageError
from trainables.tasks import CS224N
from tuner import export, search_folder
from tuner.choosing import ExportError, choose
from tuner.claim import Estimate
from tuner.confirmation import Confirmation, Confirmed
from tuner.export import FILES, app, export_best
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


@pytest.fixture(scope="module", params=[{}, {"data__normalise_text": True}, {"encoder__copies": "singles_and_pairs"}], ids=str)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a search of one trained trial, and its data."""
    folder = tmp_path_factory.mktemp("made")
    train_search(folder / "search", small_data(folder / "data"), **request.param)
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
    assert verify(search / "best") == []


def test_its_record_and_its_card_hold_what_dev_says(search: Path) -> None:
    best, record = export_best(search)
    dev = json.loads((best / "metrics.json").read_text())["dev"]
    assert dev["score"] == pytest.approx(record.score, abs=1e-6)
    for task in CS224N.tasks:
        lines = (best / "predictions" / f"{task.prediction_name}-dev-output.csv").read_text().splitlines()[1:]
        predicted = [float(line.split(" , ")[1]) for line in lines]
        figures, labels = dev["tasks"][task.name], make_sample()[task.name]["dev"].labels
        assert figures["rows"] == len(predicted)
        if task.target == "score":
            errors = [abs(one - other) for one, other in zip(predicted, labels, strict=True)]
            assert figures["mean_absolute_error"] == pytest.approx(sum(errors) / len(errors), abs=1e-5)
            continue
        pairs = list(zip(labels, predicted, strict=True))
        for true, row in enumerate(figures["confusion"]):
            assert row == [pairs.count((true, made)) for made in range(len(row))]
        right = sum(figures["confusion"][place][place] for place in range(len(figures["confusion"])))
        assert right / figures["rows"] == pytest.approx(figures["accuracy"])
    card = (best / "README.md").read_text()
    assert f"Mean absolute error {dev['tasks']['sts']['mean_absolute_error']:.4f}" in card
    assert f"| 0 (no) | {' | '.join(map(str, dev['tasks']['qqp']['confusion'][0]))} |" in card
    rows = make_sample()["sst"]
    assert f"| SST-5 sentiment | {' | '.join(str(rows[split].num_rows) for split in ('train', 'dev', 'test'))} |" in card


def test_an_interval_stands_in_its_record_and_on_its_card(search: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best, record = export_best(search)
    assert "interval" not in json.loads((best / "metrics.json").read_text())
    assert "| 95 % interval of the score | not confirmed |" in (best / "README.md").read_text()
    found = Estimate(None, (0.6,), 0.6, None, 0.5, 0.625, 1.0, 0.1, 0.05, 0.2)
    confirmed = Confirmation((Confirmed(3, 0.7, (record.number,), found),))
    monkeypatch.setattr(export, "confirmation_of", lambda *_: confirmed)
    assert export_best(search)[1] == record
    metrics, card = json.loads((best / "metrics.json").read_text()), (best / "README.md").read_text()
    assert (metrics["interval"], metrics["claim"]) == ([0.5, 0.625], confirmed.claim)
    assert metrics["interval_of"] == {"trial": 3, "trainings": [record.number], "mean": 0.6}
    assert "| 95 % interval of that mean | 0.5000 to 0.6250 |" in card
    assert f"**T{confirmed.claim[1:]}.**" in card and "not confirmed" not in card.lower()


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference, trial 0 and trial 1 were each trained again twice; trial 0 has won."""
    return confirmed_search(tmp_path_factory.mktemp("runs") / "sure", {None: 0.5, 0: 0.95, 1: 0.7})


def said_in(best: Path) -> tuple[str, list[int] | None]:
    """The claim, and the trainings whose mean the interval is of."""
    metrics = json.loads((best / "metrics.json").read_text())
    assert ("interval" in metrics) == ("interval_of" in metrics)
    card = (best / "README.md").read_text()
    assert metrics["claim"].removeprefix("not confirmed")[1:] in card
    return metrics["claim"], metrics.get("interval_of", {}).get("trainings")


def test_the_winners_claim_is_put_on_its_trainings_alone(confirmed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(confirmed, tmp_path / "sure")
    found, records = found_of(folder)
    by_trial = {config.trial: config for config in found.configs}
    for record in records:
        claim, trainings = said_in(export_best(folder, trial=record.number)[0])
        assert (claim == found.claim) == (record.number in by_trial[0].trainings)
        if record.confirms is None:
            assert claim.startswith("not confirmed itself: ") and trainings is None
        else:
            assert trainings == list(by_trial[record.confirms.trial].trainings)


def test_where_the_winners_weights_are_damaged_the_next_config_does_not_get_its_claim(confirmed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(confirmed, tmp_path / "sure")
    found, _ = found_of(folder)
    assert found.winner is not None
    for number in found.winner.trainings:
        (search_folder.trial_folder(folder, number) / "best" / "metrics.json").write_bytes(b"")
    best, record = export_best(folder)
    assert record.number in found.configs[1].trainings
    claim, trainings = said_in(best)
    assert claim.startswith("not the winner: trial 1's config, ") and trainings == list(found.configs[1].trainings)


def test_while_trainings_are_to_come_nothing_is_claimed(tmp_path: Path) -> None:
    folder = confirmed_search(tmp_path / "open", {None: 0.5, 0: 0.95, 1: 0.7}, num_trainings=3)
    for trial in (None, 2):
        best, _ = export_best(folder, trial=trial)
        assert said_in(best) == ("not confirmed: 3 trainings are still to come", None)
    assert "| this training, on: | search part, 60 % of dev | kept part, 40 % of dev |" in (best / "README.md").read_text()


def test_predict_says_of_dev_what_the_export_does(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best, data = made / "search" / "best", made / "data"
    monkeypatch.chdir("/")
    for task, (split, suffix) in itertools.product(CS224N.tasks, {"dev": "dev", "test": "test-student"}.items()):
        file = best / "predictions" / f"{task.prediction_name}-{split}-output.csv"
        args = [str(best), "--task", task.name, "--file", str(data / f"{task.file_stem}-{suffix}.csv")]
        done = CliRunner().invoke(predict_app, args)
        assert done.exit_code == 0, done.stderr
        assert done.stdout == file.read_text()


def test_an_export_from_before_there_were_script_and_manifest_is_written_over(search: Path, tmp_path: Path) -> None:
    out, _ = export_best(search, out=tmp_path / "out")
    script = (out / "reproduce.sh").read_text()
    for name in ("reproduce.sh", "manifest.json"):
        (out / name).unlink()
    assert run(search, "--out", out)[0] == 0
    assert verify(out) == []
    assert (out / "reproduce.sh").read_text() == script and os.access(out / "reproduce.sh", os.X_OK)


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


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning")
def test_what_is_exported_may_be_registered_and_the_last_one_asked_for_is_the_champion(search: Path) -> None:
    from tuner import mlflow_store

    with_best, with_other = run(search, "--register", "bert"), run(search, "--trial", "0", "--register", "bert")
    again = run(search, "--register", "bert")
    assert [code for code, _, _ in (with_best, with_other, again)] == [0, 0, 0], (with_best, with_other, again)
    assert [out.splitlines()[-1] for _, out, _ in (with_best, with_other, again)] == [
        "registered as bert, version 1",
        "registered as bert, version 2",
        "registered as bert, version 1 (it was there)",
    ]
    client, _ = mlflow_store.connect(mlflow_store.default_tracking_uri(search))
    champion = client.get_model_version_by_alias("bert", "champion")
    assert (str(champion.version), champion.tags["tritune.trial"]) == ("1", "1")
    assert champion.tags["tritune.score"] == f"{Ledger.open(search).record(1).score:.6f}"


def test_a_name_that_cannot_be_registered_is_told_before_anything_is_exported(search: Path) -> None:
    code, _, err = run(search, "--register", "../a", "--how", "average")
    assert code == 2 and not (search / "best").exists()
    assert err.count("--register: ") == 2 and "--how is for --ensemble" in err
    code, _, err = run(search, search, "--ensemble", "--register", "a")
    assert code == 2 and "--register is for one search" in err


def test_what_cannot_be_registered_is_exported_all_the_same(search: Path) -> None:
    Ledger.open(search).set_header("settings", {"tracking_uri": "http://127.0.0.1:9"})
    code, out, err = run(search, "--register", "bert")
    assert code == 1 and (search / "best" / "heads.safetensors").is_file()
    assert "loaded again, it scores the same" in out
    assert "MLflow mirror is not complete" in err
