import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from search_spaces.domains import Float
from search_spaces.studies import best_fit, leaderboard
from search_spaces.studies.basics import SPACE
from tests.tuner.planning import TINY, begin, problems_of, write_task
from trainables.config import TrialConfig
from trainables.inputs import DataChangedError, absolute_encoder, absolute_source
from trainables.parts import ConfigError, Problems
from trainables.paths import write_yaml
from trainables.tasks import CS224N
from tuner import search_plan as module
from tuner.ledger import Ledger
from tuner.ledger_places import LedgerError
from tuner.prepare import prepare, prepare_resume


def test_a_plan_knows_all_that_a_search_needs(data: Path) -> None:
    plan = prepare({"trials": 4, "cpus_per_trial": 2}, set_texts=[TINY], data=str(data))
    assert plan.settings.trials == 4
    assert plan.base.data.source == str(data)
    assert plan.base.num_threads == 2
    assert plan.base.budget_examples == 36
    assert plan.num_rows == {"sst": 12, "qqp": 12, "sts": 12}
    assert plan.left_out == ()
    assert [d.name for d in plan.space.dimensions] == [d.name for d in leaderboard.SPACE.dimensions]
    assert {Path(name).name for name in plan.data_hashes} == {path.name for path in data.iterdir()}
    for name, digest in plan.data_hashes.items():
        assert digest == hashlib.sha256((data / Path(name).name).read_bytes()).hexdigest()


def test_all_mistakes_come_in_one_message(tmp_path: Path) -> None:
    problems = problems_of(
        lambda: prepare(
            {"searcher": "bayes", "space": "leaderbord", "trails": 1},
            set_texts=["optimizer.lrr=1", "nonsense"],
            data=str(tmp_path / "nowhere"),
        )
    )
    assert len(problems) == 5
    for start in (
        "--searcher: input should be",
        "--trails: unknown key (did you mean trials?)",
        "--space: 'leaderbord' is no space (did you mean leaderboard?)",
        "--set wants PATH=VALUE",
        f"{tmp_path / 'nowhere'}: no such folder",
    ):
        assert any(problem.startswith(start) for problem in problems), start
    problems = problems_of(lambda: prepare({"searcher": "bayes"}, set_texts=["optimizer.lrr=1"], data=str(tmp_path / "nowhere")))
    assert len(problems) == 3 and any("there is no 'lrr' to set (did you mean lr?)" in problem for problem in problems)


def test_mistakes_of_encoder_and_data_come_with_those_of_the_settings(data: Path) -> None:
    (data / "quora-dev.csv").unlink()
    problems = problems_of(lambda: prepare({"trials": 0}, set_texts=["encoder.name=./nowhere"], data=str(data)))
    assert len(problems) == 3
    assert any("quora-dev.csv" in problem for problem in problems)
    assert any(problem.startswith("encoder ./nowhere: no such folder") for problem in problems)


def test_earlier_mistakes_are_told_with_the_rest(data: Path) -> None:
    problems = Problems()
    problems.add("--out: taken", "--out: taken")
    found = problems_of(lambda: prepare({"trials": 0}, set_texts=[TINY], data=str(data), problems=problems))
    assert found == ["--out: taken", "--trials: input should be greater than or equal to 1, but got 0"]


def test_where_nothing_will_start_no_tokens_are_made(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_inputs", lambda config: pytest.fail("tokens are made"))
    assert len(problems_of(lambda: prepare({"trials": 0}, set_texts=[TINY], data=str(data)))) == 1


def test_what_is_set_by_hand_does_not_vary(data: Path) -> None:
    plan = prepare({"space": "basics"}, set_texts=[TINY, "optimizer.lr=3e-5", "heads.sst.kind=mlp"], data=str(data))
    assert plan.base.optimizer.lr == 3e-5
    paths = [dimension.path for dimension in plan.space.dimensions]
    assert paths == [d.path for d in SPACE.dimensions if d.path not in {"optimizer.lr", "heads.*.kind"}]
    point = plan.space.draw(lambda _path, domain: domain.grid(2)[-1], plan.base)
    assert "heads.*.hidden_size" not in point  # only one head is an mlp
    plan.base.override(point)


def test_a_space_of_which_nothing_is_left_is_refused(data: Path, tmp_path: Path) -> None:
    write_yaml({"dimensions": {"optimizer.lr": {"float": [1e-5, 1e-3]}}}, tmp_path / "one.yaml")
    settings = {"space": str(tmp_path / "one.yaml")}
    problems = problems_of(lambda: prepare(settings, set_texts=[TINY, "optimizer.lr=3e-5"], data=str(data)))
    assert problems == ["space one: nothing varies; at least one dimension is needed"]


def test_values_that_the_config_refuses_are_found_before_the_start(data: Path) -> None:
    problems = problems_of(lambda: prepare({}, set_texts=[TINY, "optimizer.warmup_fraction=0.0"], data=str(data)))
    assert len(problems) == 1 and "warmup_fraction > 0 must hold for lr_schedule=slanted_triangular" in problems[0]


def test_a_config_file_stands_under_what_is_set_by_hand(data: Path, tmp_path: Path) -> None:
    write_yaml({"encoder": {"name": "tiny"}, "optimizer": {"lr": 1e-3, "eps": 1e-7}, "seed": 5}, tmp_path / "c.yaml")
    plan = prepare({}, config_file=tmp_path / "c.yaml", set_texts=["optimizer.lr=3e-5"], data=str(data))
    assert (plan.base.optimizer.lr, plan.base.optimizer.eps, plan.base.seed) == (3e-5, 1e-7, 5)
    write_yaml({"encodr": {}}, tmp_path / "wrong.yaml")
    assert problems_of(lambda: prepare({}, config_file=tmp_path / "wrong.yaml", data=str(data))) == [
        "encodr: unknown key (did you mean encoder?)"
    ]


@pytest.mark.parametrize("how", ["option", "set", "file"])
def test_a_source_means_the_same_in_every_folder(how: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_yaml({"data": {"source": "data"}} if how == "file" else {}, tmp_path / "c.yaml")
    texts = [TINY, *(["data.source=data"] if how == "set" else [])]
    plan = prepare({}, config_file=Path("c.yaml"), set_texts=texts, data="data" if how == "option" else None)
    assert plan.base.data.source == str(data)


def test_an_encoders_folder_means_the_same_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert").mkdir()
    assert absolute_encoder("bert") == str(tmp_path / "bert")
    for name in ("tiny", "packaged", "google-bert/bert-base-uncased"):
        assert absolute_encoder(name) == name
    for source in ("sample", "hub"):
        assert absolute_source(source) == source


def test_a_search_goes_on_with_what_may_change(data: Path, tmp_path: Path) -> None:
    plan = prepare({"trials": 4}, set_texts=[TINY, "optimizer.lr=3e-5"], data=str(data))
    folder = begin(tmp_path, plan)
    again = prepare_resume(folder, {"trials": 9, "concurrency": 2}, None, Problems())
    assert (again.settings.trials, again.settings.concurrency) == (9, 2)
    assert (again.base, again.space, again.data_hashes) == (plan.base, plan.space, plan.data_hashes)
    assert again.settings.model_copy(update={"trials": 4, "concurrency": None}) == plan.settings


def test_changed_data_are_refused_by_file_with_both_hashes(data: Path, tmp_path: Path) -> None:
    plan = prepare({}, set_texts=[TINY], data=str(data))
    folder = begin(tmp_path, plan)
    write_task(data, CS224N.by_name["qqp"], {"train": 13})
    with pytest.raises(DataChangedError) as caught:
        prepare_resume(folder, {}, None, Problems())
    [problem] = caught.value.problems
    [name] = [name for name in plan.data_hashes if Path(name).name == "quora-train.csv"]
    now = hashlib.sha256((data / "quora-train.csv").read_bytes()).hexdigest()
    assert problem == (f"{name}: the data have changed: sha256 was {plan.data_hashes[name]}, is {now}")
    (data / "ids-sst-test-student.csv").write_text("id\tsentence\nt0\tfine\n")
    with pytest.raises(DataChangedError) as caught:
        prepare_resume(folder, {}, None, Problems())
    assert len(caught.value.problems) == 2 and "sha256 was none, is " in str(caught.value)


def test_a_file_that_is_gone_is_a_change_too(data: Path, tmp_path: Path) -> None:
    (data / "ids-sst-test-student.csv").write_text("id\tsentence\nt0\tfine\n")
    folder = begin(tmp_path, prepare({}, set_texts=[TINY], data=str(data)))
    (data / "ids-sst-test-student.csv").unlink()
    with pytest.raises(DataChangedError, match=r"ids-sst-test-student\.csv: .* sha256 was [0-9a-f]{64}, is none"):
        prepare_resume(folder, {}, None, Problems())


def test_a_changed_encoder_is_refused(data: Path, tmp_path: Path) -> None:
    plan = prepare({}, set_texts=[TINY], data=str(data))
    folder = begin(tmp_path, plan)
    Ledger.open(folder).set_header("encoder_sha256", "0" * 64)
    with pytest.raises(DataChangedError, match=f"encoder tiny: the weights have changed: sha256 was {'0' * 64}, is"):
        prepare_resume(folder, {}, None, Problems())


def test_missing_data_are_told_with_all_other_mistakes(data: Path, tmp_path: Path) -> None:
    folder = begin(tmp_path, prepare({}, set_texts=[TINY], data=str(data)))
    data.rename(tmp_path / "moved")
    problems = Problems()
    problems.add("--seed: cannot change")
    found = problems_of(lambda: prepare_resume(folder, {"concurrency": 0}, "leaderbord", problems))
    assert len(found) == 4
    assert any(problem.startswith(f"{data}: no such folder") for problem in found)


def test_ranges_may_be_widened_and_nothing_else(data: Path, tmp_path: Path) -> None:
    plan = prepare({"space": "basics"}, set_texts=[TINY, "encoder.dropout=0.1"], data=str(data))
    folder = begin(tmp_path, plan)
    tree = plan.space.to_tree()
    tree["dimensions"]["optimizer.lr"]["float"] = [1e-6, 1e-2]
    write_yaml(tree, tmp_path / "wide.yaml")
    wide = prepare_resume(folder, {}, str(tmp_path / "wide.yaml"), Problems()).space
    assert wide.dimensions[0].domain == Float(1e-6, 1e-2, log=True) and wide.dimensions[1:] == plan.space.dimensions[1:]
    tree["dimensions"]["data.batch_size"]["choices"] = [8, 64]
    del tree["dimensions"]["encoder.pooling"]
    write_yaml(tree, tmp_path / "other.yaml")
    found = problems_of(lambda: prepare_resume(folder, {}, str(tmp_path / "other.yaml"), Problems()))
    assert [problem.split(":")[0] for problem in found] == ["data.batch_size", "encoder.pooling"]
    named = prepare_resume(folder, {}, "basics", Problems()).space
    assert "encoder.dropout" not in [dimension.path for dimension in named.dimensions]  # it was set by hand


def test_a_search_cut_short_while_it_was_set_up_is_refused(tmp_path: Path) -> None:
    Ledger.create(tmp_path, {"settings": {}})
    with pytest.raises(LedgerError, match="cut short while it was being set up; delete the folder and begin anew"):
        prepare_resume(tmp_path, {}, None, Problems())
    with pytest.raises(LedgerError, match="no search stands here"):
        prepare_resume(tmp_path / "nowhere", {}, None, Problems())


def test_rows_that_are_not_used_are_listed_in_the_header(data: Path) -> None:
    with (data / "quora-train.csv").open("a", encoding="utf-8") as file:
        file.write("x\thow\twhy\t\n")
    plan = prepare({}, set_texts=[TINY], data=str(data))
    assert len(plan.left_out) == 1 and "quora-train.csv" in plan.left_out[0]
    assert plan.num_rows["qqp"] == 12
    assert plan.header()["left_out"] == list(plan.left_out)
    assert TrialConfig.parse(plan.header()["base"]) == plan.base


def test_problems_are_told_once_and_in_order() -> None:
    problems = Problems()
    problems.raise_any()
    assert not problems
    assert problems.attempt(lambda: 3) == 3

    def fail() -> None:
        raise ConfigError(["b", "a", "b"])

    assert problems.attempt(fail) is None
    problems.add("c", "a")
    assert problems
    assert problems_of(problems.raise_any) == ["b", "a", "c"]
    with pytest.raises(ZeroDivisionError):  # our own mistakes are no user's
        problems.attempt(lambda: 1 // 0)


def test_a_grid_search_has_no_more_trials_than_points(tmp_path: Path) -> None:
    space = tmp_path / "two.yaml"
    space.write_text("dimensions:\n  data.batch_size: {choices: [4, 8]}\n")
    plan = prepare({"space": str(space), "searcher": "grid", "trials": 50}, set_texts=["encoder.name=tiny"])
    assert plan.settings.trials == 2


@pytest.mark.parametrize(
    ("path", "option"),
    [
        ("seed", "--seed"),
        ("num_threads", "--cpus-per-trial"),
        ("budget_examples", "--budget"),
        ("num_reports", "--set num_reports=N"),
        ("objective.distill.teachers.sst", "--set objective.distill.teachers.TASK=FOLDER"),
    ],
)
def test_what_the_search_itself_decides_does_not_vary(path: str, option: str, data: Path, tmp_path: Path) -> None:
    dimensions = {"optimizer.lr": {"float": [1e-5, 1e-3]}}
    plan = prepare({}, set_texts=[TINY], data=str(data))
    write_yaml({"dimensions": {**dimensions, path: {"int": [1, 4]}}}, tmp_path / "own.yaml")
    own = str(tmp_path / "own.yaml")
    problem = f"space own: {path}: it cannot vary; one value for all trials: {option}"
    # whoever sets it by hand is told all the same
    assert problems_of(lambda: prepare({"space": own}, set_texts=[TINY, "budget_examples=36"], data=str(data))) == [problem]
    folder = begin(tmp_path, plan)
    assert problem in problems_of(lambda: prepare_resume(folder, {}, own, Problems()))


def test_what_options_set_is_not_set_by_hand(data: Path) -> None:
    texts = [TINY, "seed=3", "num_threads=2", "num_reports=5", "budget_examples=30"]
    assert problems_of(lambda: prepare({}, set_texts=texts, data=str(data))) == [
        "--set seed: the search sets it; use --seed",
        "--set num_threads: the search sets it; use --cpus-per-trial",
    ]
    plan = prepare({}, set_texts=[TINY, *texts[3:]], data=str(data))
    assert (plan.base.num_reports, plan.base.budget_examples) == (5, 30)


def test_dimensions_added_to_a_space_vary_from_then_on_but_for_what_was_set_by_hand(data: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    dimensions: dict[str, Any] = {"optimizer.lr": {"float": [1e-5, 1e-3]}, "encoder.dropout": {"float": [0.0, 0.2]}}
    write_yaml({"dimensions": dimensions}, mine)
    plan = prepare({"space": str(mine)}, set_texts=[TINY, "encoder.dropout=0.1"], data=str(data))
    folder = begin(tmp_path, plan)
    assert Ledger.open(folder).header["fixed"] == ["encoder.name", "encoder.dropout"]
    write_yaml({"dimensions": {**dimensions, "encoder.pooling": {"choices": ["cls", "mean"]}}}, mine)
    again = prepare_resume(folder, {}, str(mine), Problems())
    assert [dimension.path for dimension in again.space.dimensions] == ["optimizer.lr", "encoder.pooling"]
    assert again.fixed == plan.fixed
    assert again.header()["fixed"] == plan.header()["fixed"]


def test_a_tracking_uri_is_checked_and_means_the_same_in_every_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = prepare({"tracking_uri": "sqlite:///m.db"}, set_texts=[TINY], data=str(data))
    assert plan.settings.tracking_uri == f"sqlite:///{tmp_path}/m.db"
    folder = begin(tmp_path, plan)
    assert prepare_resume(folder, {}, None, Problems()).settings.tracking_uri == plan.settings.tracking_uri
    changed = prepare_resume(folder, {"tracking_uri": "sqlite:///n.db"}, None, Problems())
    assert changed.settings.tracking_uri == f"sqlite:///{tmp_path}/n.db"
    wrong = {"tracking_uri": "http://me:secret@host", "trials": 0}
    for make in (
        lambda: prepare(wrong, set_texts=[TINY], data=str(data)),
        lambda: prepare_resume(folder, wrong, None, Problems()),
    ):
        found = problems_of(make)
        assert len(found) == 2 and "MLFLOW_TRACKING_PASSWORD" in found[0] and "secret" not in json.dumps(found)


def test_where_nobody_knows_what_was_set_by_hand_the_space_stays(data: Path, tmp_path: Path) -> None:
    header = prepare({}, set_texts=[TINY], data=str(data)).header()
    del header["fixed"]
    Ledger.create(tmp_path, header)
    [problem] = problems_of(lambda: prepare_resume(tmp_path, {}, "leaderboard", Problems()))
    assert problem.startswith("--space: ") and "does not say what was set by hand" in problem
    assert prepare_resume(tmp_path, {}, None, Problems()).space.to_tree() == header["space"]


def test_other_tasks_are_searched_by_what_all_tasks_have(data: Path, tmp_path: Path) -> None:
    write_task(data, best_fit.CFIMDB)
    tasks = {"tasks": ["sst", best_fit.CFIMDB.model_dump(mode="json")], "score": "(sst_accuracy + cfimdb_accuracy) / 2"}
    write_yaml(tasks, tmp_path / "two.yaml")
    plan = prepare({}, tasks_file=tmp_path / "two.yaml", set_texts=[TINY], data=str(data))
    assert plan.space == SPACE and plan.settings.space == "basics"
    assert prepare({}, set_texts=[TINY], data=str(data)).settings.space == "leaderboard"


def test_a_space_of_ours_freezes_no_more_layers_than_the_encoder_has(data: Path, tmp_path: Path) -> None:
    plan = prepare({}, set_texts=[TINY], data=str(data))
    [frozen] = [d.domain for d in plan.space.dimensions if d.path == "phases.0.frozen_layers"]
    assert frozen.high == 1, "the tiny encoder has two"  # type: ignore[union-attr]
    write_yaml({"dimensions": {"phases.0.frozen_layers": {"int": [0, 5]}}}, tmp_path / "mine.yaml")
    [problem] = problems_of(lambda: prepare({"space": str(tmp_path / "mine.yaml")}, set_texts=[TINY], data=str(data)))
    assert problem == "space mine: phases.0.frozen_layers <= 2, the encoder's layers, must hold, but it goes to 5"


def test_a_space_of_ours_also_keeps_to_the_encoder_where_a_search_goes_on_over_it(data: Path, tmp_path: Path) -> None:
    write_yaml({"dimensions": {"optimizer.lr": {"float": [1e-5, 1e-3], "log": True}}}, tmp_path / "mine.yaml")
    folder = begin(tmp_path, prepare({"space": str(tmp_path / "mine.yaml")}, set_texts=[TINY], data=str(data)))
    wide = {"optimizer.lr": {"float": [1e-6, 1e-3], "log": True}, "phases.0.frozen_layers": {"int": [0, 12]}}
    write_yaml({"dimensions": wide}, tmp_path / "mine.yaml")
    [problem] = problems_of(lambda: prepare_resume(folder, {}, str(tmp_path / "mine.yaml"), Problems()))
    assert problem == "space mine: phases.0.frozen_layers <= 2, the encoder's layers, must hold, but it goes to 12"
    [frozen] = [d for d in prepare_resume(folder, {}, "leaderboard", Problems()).space.dimensions if "frozen" in d.path]
    assert frozen.domain.high == 1  # type: ignore[union-attr]


def test_a_file_with_the_name_of_a_space_of_ours_is_the_users_own(data: Path, tmp_path: Path) -> None:
    write_yaml({"dimensions": {"optimizer.lrr": {"float": [1e-5, 1e-3]}}}, tmp_path / "basics.yaml")
    [problem] = problems_of(lambda: prepare({"space": str(tmp_path / "basics.yaml")}, data=str(data)))
    assert problem.startswith("space basics: optimizer.lrr: there is no 'lrr' to set")


@pytest.mark.parametrize("change", ["heads.safetensors", "config.yaml"])
def test_a_changed_teacher_is_refused(change: str, data: Path, tmp_path: Path, teacher: Path) -> None:
    taught = [TINY, f"objective.distill.teachers.sst={teacher}"]
    folder = begin(tmp_path, prepare({"space": "basics"}, set_texts=taught, data=str(data)))
    prepare_resume(folder, {}, None, Problems())
    if change == "config.yaml":
        (teacher / change).write_text((teacher / change).read_text().replace("seed: 0", "seed: 7"))
    else:
        weights = bytearray((teacher / change).read_bytes())
        weights[-1] ^= 1
        (teacher / change).write_bytes(weights)
    ledger = Ledger.open(folder)
    with pytest.raises(DataChangedError) as caught:
        prepare_resume(folder, {}, None, Problems())
    hashes = {name: digest for name, digest in ledger.header["data_hashes"].items() if not name.startswith("teacher ")}
    ledger.set_header("data_hashes", hashes)
    prepare_resume(folder, {}, None, Problems())  # of a search that did not write them down, nobody knows
    [problem] = caught.value.problems
    assert problem.startswith(f"teacher {teacher}: the weights have changed: sha256 was ")


def test_a_name_for_the_registry_is_looked_at_with_all_the_rest(data: Path) -> None:
    assert prepare({"register_as": "my bert"}, set_texts=[TINY], data=str(data)).settings.register_as == "my bert"
    with pytest.raises(ConfigError) as caught:
        prepare({"register_as": "a/b", "trials": 0}, set_texts=[TINY], data=str(data))
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["--register", "--trials"]


def test_a_storage_is_looked_at_before_anything_starts(data: Path, tmp_path: Path) -> None:
    plan = prepare({"storage": f" file://{tmp_path}/storage/ "}, set_texts=[TINY], data=str(data))
    assert plan.settings.storage == f"file://{tmp_path}/storage"
    (tmp_path / "file").write_text("")
    wrong = {"storage": f"file://{tmp_path}/file/x", "trials": 0}
    found = problems_of(lambda: prepare(wrong, set_texts=[TINY], data=str(data)))
    assert [problem.split(":")[0] for problem in found] == ["--storage", "--trials"]


def test_a_search_keeps_its_storage_or_gets_one_in_its_place(data: Path, tmp_path: Path) -> None:
    plan = prepare({"storage": f"file://{tmp_path}/storage"}, set_texts=[TINY], data=str(data))
    folder = begin(tmp_path, plan)
    assert prepare_resume(folder, {}, None, Problems()).settings.storage == f"file://{tmp_path}/storage"
    moved = prepare_resume(folder, {"storage": f"file://{tmp_path}/moved"}, None, Problems())
    assert moved.settings.storage == f"file://{tmp_path}/moved"


def test_a_search_without_a_storage_gets_none(data: Path, tmp_path: Path) -> None:
    folder = begin(tmp_path, prepare({}, set_texts=[TINY], data=str(data)))
    [problem] = problems_of(lambda: prepare_resume(folder, {"storage": f"file://{tmp_path}/storage"}, None, Problems()))
    assert problem.startswith("--storage: this search began without one")


def test_what_is_printed_is_read_back_by_the_options_of_its_parts(data: Path, tmp_path: Path) -> None:
    by_hand = [TINY, "optimizer.weight_decay=0.02", "heads.sst.kind=mlp"]
    plan = prepare({"space": "leaderboard"}, set_texts=by_hand, data=str(data))
    printed = tmp_path / "printed.yaml"
    write_yaml(plan.for_people(), printed)
    again = prepare({"space": str(printed)}, config_file=printed)
    assert (again.base, again.space) == (plan.base, plan.space)
    assert {**again.for_people(), "settings": None} == {**plan.for_people(), "settings": None}
    write_yaml({**plan.for_people(), "config": 3}, printed)
    assert problems_of(lambda: prepare({}, config_file=printed)) == [
        f"{printed}: config: a mapping of keys to values must stand here, but got int"
    ]
