"""A search that a test drives by hand, without trainer and Ray, as MLflow is to show it."""

from pathlib import Path
from typing import Any

from optuna.samplers import RandomSampler

from search_spaces.studies.leaderboard import SPACE
from trainables.config import TrialConfig
from tuner.ledger import Ledger
from tuner.mirror_runs import WantedRun, wanted_runs
from tuner.search_folder import trial_folder, write_json

BASE = TrialConfig.parse({"encoder": {"name": "tiny"}, "budget_examples": 900, "optimizer": {"warmup_fraction": 0.1}})
METRICS = {
    **{"sst_accuracy": 0.4, "qqp_accuracy": 0.7, "sts_pearson": 0.5, "loss": 1.5, "loss_sst": 0.5, "lr": 1e-4},
    **{"conflict_share": 0.3, "gradient_change_sst": -0.1, "learnt_weight_sst": 0.8},
}
COSTS = {"train_seconds": 2.0, "eval_seconds": 0.5, "examples_per_second": 50.0, "tokens": 900, "checkpoint": {"file": "x"}}


class Search:
    """A search that a test drives by hand."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "settings.yaml").write_text("trials: 3\n")
        header: dict[str, Any] = {
            "id": f"{name}-id",
            "name": name,
            "settings": {"trials": 3, "seed": 7, "space": "leaderboard", "tracking_uri": None},
        }
        lineage = {"git_commit": "c0ffee", "git_dirty": False, "python": "3.11", "packages": {"torch": "2"}}
        header |= {"base": BASE.to_tree(), "lineage": lineage, "data_hashes": {"a.csv": "1" * 64}, "ended": None}
        self.ledger = Ledger.create(folder, header)
        self._sampler = RandomSampler(seed=3)

    def ask(self, num: int = 1, base: TrialConfig = BASE) -> None:
        for _ in range(num):
            number = self.ledger.ask(SPACE, base, self._sampler, {"seed": 7}).number
            trial_folder(self.folder, number).mkdir(parents=True)
            (trial_folder(self.folder, number) / "log.txt").write_text(f"log of {number}\n")

    def report(self, number: int, *indices: int) -> None:
        for i in indices:
            self.ledger.report(number, {"report": i, "budget": 100 * i, "score": 0.5 + i / 100, **METRICS, **COSTS})

    def end(self, how: str | None) -> None:
        self.ledger.set_header("ended", how)

    def wanted(self, *, over: bool = False, name: str | None = None) -> dict[int | None, WantedRun]:
        """What MLflow must hold; under another `name` it is another search."""
        header = self.ledger.header | ({"id": f"{name}-id", "name": name} if name else {})
        return wanted_runs(header, self.ledger.records(live=not over), self.folder, over=over)


def three_trials(folder: Path, name: str) -> Search:
    """Complete with 9 reports, stopped with 1, failed with 2."""
    search = Search(folder, name)
    search.ask(3)
    search.report(0, *range(1, 10))
    search.report(1, 1)
    search.report(2, 1, 2)
    search.ledger.tell(0, "complete")
    search.ledger.tell(1, "stopped")
    search.ledger.tell(2, "failed", "diverged", "the loss is nan")
    return search


def finished(folder: Path, name: str) -> Search:
    search = three_trials(folder, name)
    export(search)
    search.end("complete")
    return search


def export(search: Search) -> None:
    """Trial 0 as an export, without a model that could be loaded."""
    best = search.folder / "best"
    (best / "predictions").mkdir(parents=True)
    (best / "config.yaml").write_text("seed: 1\n")
    (best / "heads.safetensors").write_bytes(b"weights")
    (search.folder / "report.html").write_text("<!DOCTYPE html>")
    (best / "predictions" / "sst-dev-output.csv").write_text("id, Predicted_Sentiment\n")
    write_json(best / "lineage.json", {"search": search.ledger.header["id"], "trial": 0})
    write_json(best / "metrics.json", {"best_report": dict(search.ledger.record(0).best_report or {})})
