"""Row 20: what somebody else may have put into files is refused before anything runs.

Each poison would, read the usual way, make the folder `ran` (code), show or copy the file `secret` (names and links that
lead elsewhere), or fill memory (bombs).
"""

import json
import os
import pickle
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from typer.testing import CliRunner

from reports.leaderboard import app as leaderboard_app
from search_spaces.domains import Float
from search_spaces.space import Dimension, Space
from trainables.checkpoints import MANIFEST, newest_good, verify, write_checkpoint
from trainables.config import TrialConfig
from trainables.encoder_files import EncoderError, find_encoder
from trainables.outside.labelling import load_causal_model
from trainables.parts import ConfigError
from trainables.tiny_encoder import write_tiny_encoder
from trainables.train import app as train_app
from tuner.export import app as export_app
from tuner.ledger import Ledger
from tuner.ledger_places import LEDGER_FILE
from tuner.search import app as search_app
from tuner.search_folder import check_links
from tuner.settings import SearchSettings
from tuner.tracking import app as tracking_app

pytestmark = pytest.mark.row(20, "pickles, code, bombs, links and hostile values in files that are read")
SPACE = Space("toy", (Dimension("optimizer.lr", Float(1e-5, 1e-3, log=True)),))
BASE = TrialConfig.parse({"encoder": {"name": "tiny"}, "num_reports": 3, "budget_examples": 300})
SECRET = "the-content-of-a-secret-file"
ESCAPE = "\x1b]0;owned\x07\x1b[2J"


class RunsWhenRead:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (str(self.ran),)


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET)
    return tmp_path / "secret"


@pytest.fixture
def search(tmp_path: Path) -> Path:
    """A search with one trial that has a report and weights in name."""
    folder = tmp_path / "search"
    folder.mkdir()
    header = {
        "id": "0" * 32,
        "name": "search",
        "settings": SearchSettings().to_tree(),
        "space": SPACE.to_tree(),
        "base": BASE.to_tree(),
        "data_hashes": {},
        "fixed": [],
    }
    ledger = Ledger.create(folder, header)
    ledger.ask(SPACE, BASE, optuna.samplers.RandomSampler(seed=0), {"seed": 7})
    metrics = {"sst_accuracy": 0.4, "qqp_accuracy": 0.7, "sts_pearson": 0.5}
    ledger.report(0, {"report": 1, "score": 0.6, "budget": 300, "train_seconds": 2.0, **metrics})
    ledger.tell(0, "complete")
    best = folder / "trials" / "0000" / "best"
    best.mkdir(parents=True)
    (best / "metrics.json").write_text(json.dumps({"score": 0.6}))
    (folder / "best").mkdir()
    return folder


COMMANDS: dict[str, Callable[[Path], tuple[object, list[str]]]] = {
    "resume": lambda folder: (search_app, ["--resume", str(folder), "--print-config"]),
    "leaderboard": lambda folder: (leaderboard_app, [str(folder)]),
    "leaderboard --json": lambda folder: (leaderboard_app, [str(folder), "--json"]),
    "export": lambda folder: (export_app, [str(folder)]),
    "sync": lambda folder: (tracking_app, ["sync", str(folder), "--tracking-uri", f"sqlite:///{folder.parent / 'm.db'}"]),
}


def run(command: str, folder: Path) -> tuple[int, str]:
    app, args = COMMANDS[command](folder)
    done = CliRunner().invoke(app, args)  # type: ignore[arg-type]
    assert done.exception is None or isinstance(done.exception, SystemExit), (command, done.exception)
    return done.exit_code, done.output


def poison_database(folder: Path, *statements: str) -> None:
    with sqlite3.connect(folder / LEDGER_FILE) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "name", ["study.db", "trials/0000/best/metrics.json", "trials/0000/best/pytorch_model.bin", "best/x.pkl"]
)
def test_a_pickle_in_a_search_folder_is_never_loaded(search: Path, ran: Path, name: str) -> None:
    (search / name).write_bytes(pickle.dumps(RunsWhenRead(ran)))
    for command in COMMANDS:
        if command != "sync" or name == "study.db":
            run(command, search)
    assert not ran.exists()
    pickle.loads((search / name).read_bytes())
    assert ran.exists(), "the poison works"


def test_weights_as_pickle_are_refused(tmp_path: Path, ran: Path) -> None:
    folder = shutil.copytree(write_tiny_encoder(tmp_path / "made"), tmp_path / "encoder")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(RunsWhenRead(ran)))
    with pytest.raises(EncoderError, match="is a pickle, which can run code, and is not read"):
        find_encoder(str(folder))
    (folder / "model.safetensors").write_bytes(pickle.dumps(RunsWhenRead(ran)))
    with pytest.raises(EncoderError, match="no whole safetensors file"):
        find_encoder(str(folder))
    with pytest.raises(ConfigError, match="no causal language model can be read there"):
        load_causal_model(str(folder))
    assert not ran.exists()


CODE = "open({!r}, 'w').close()\nclass Made:\n    pass\n"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_models_own_is_refused(tmp_path: Path, ran: Path, file: str) -> None:
    folder = shutil.copytree(write_tiny_encoder(tmp_path / "made"), tmp_path / "encoder")
    (folder / "evil.py").write_text(CODE.format(str(ran)))
    there = json.loads((folder / file).read_text()) if (folder / file).is_file() else {}
    auto_map = {"AutoConfig": "evil.Made", "AutoModel": "evil.Made", "AutoTokenizer": ["evil.Made", "evil.Made"]}
    (folder / file).write_text(json.dumps({**there, "auto_map": auto_map}))
    with pytest.raises(EncoderError, match="auto_map asks for code of the model's own, which is never run"):
        find_encoder(str(folder))
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": auto_map}))
    with pytest.raises(ConfigError, match="no causal language model can be read there"):
        load_causal_model(str(folder))
    assert not ran.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers must be an integer from 1 to 1000"),
        ({"hidden_size": 10**12, "num_attention_heads": 1}, "hidden_size must be an integer from 1 to"),
        ({"layer_norm_eps": "1e-12"}, "layer_norm_eps must be a number between 0 and 1"),
    ],
)
def test_an_encoder_that_says_it_is_huge_is_refused_before_it_is_made(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    folder = shutil.copytree(write_tiny_encoder(tmp_path / "made"), tmp_path / "encoder")
    (folder / "config.json").write_text(json.dumps({**json.loads((folder / "config.json").read_text()), **change}))
    with pytest.raises(EncoderError, match=said):
        find_encoder(str(folder))


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))]
)
YAML_POISONS = {
    "tag": "!!python/object/apply:os.mkdir [{ran}]",
    "inner tag": "optimizer: {{lr: !!python/object/apply:os.mkdir [{ran}]}}",
    "bomb": BOMB,
    "brackets": "[" * 50_000,
    "device": None,
}


@pytest.mark.parametrize("poison", YAML_POISONS)
@pytest.mark.parametrize("option", ["--config", "--tasks", "--space"])
def test_poisoned_yaml_is_refused_with_its_place(tmp_path: Path, ran: Path, poison: str, option: str) -> None:
    file, text = tmp_path / "evil.yaml", YAML_POISONS[poison]
    if text is None:
        file.symlink_to("/dev/zero")
    else:
        file.write_text(text.format(ran=ran) if "{ran}" in text else text)
    for app in (search_app, train_app) if option != "--space" else (search_app,):
        done = CliRunner().invoke(app, [option, str(file), "--print-config"])
        assert done.exit_code == 2, done.output
        assert re.search(f"{file}: " + (r"line \d+, column \d+: " if text is not None else "at most"), done.output), done.output
    assert not ran.exists()


def seal(folder: Path, name: str = "report-0001") -> Path:
    return write_checkpoint(folder, name, lambda inner: (inner / "state.json").write_text("{}"))


@pytest.mark.parametrize("name", ["../../secret", "/etc/hostname", "a/../../../secret", "nul\x00l"])
def test_a_manifest_cannot_name_what_lies_elsewhere(tmp_path: Path, secret: Path, name: str) -> None:
    folder = seal(tmp_path / "checkpoints")
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, name: {"size": len(SECRET), "sha256": "0" * 64}}))
    assert verify(folder) == [f"{folder / MANIFEST}: {name!r} leads out of the folder"]
    assert newest_good(tmp_path / "checkpoints") is None


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "{}" * 9, '{"state.json": 3}', '{"state.json": {"size": [], "sha256": {}}}', "[]"]
)
def test_a_manifest_may_hold_anything(tmp_path: Path, content: str) -> None:
    folder = seal(tmp_path / "checkpoints")
    (folder / MANIFEST).write_text(content)
    assert verify(folder)


def test_links_in_a_checkpoint_are_refused(tmp_path: Path, secret: Path) -> None:
    older, newer = seal(tmp_path / "c", "report-0001"), seal(tmp_path / "c", "report-0002")
    (newer / "state.json").unlink()
    (newer / "state.json").symlink_to(secret)
    told: list[str] = []
    assert newest_good(tmp_path / "c", told.extend) == older
    assert told == [f"{newer / 'state.json'}: a link; a checkpoint holds files of its own alone"]
    shutil.rmtree(newer)
    newer.symlink_to(older)
    assert newest_good(tmp_path / "c", told.extend) == older
    assert told[-1] == f"{newer}: a link; a checkpoint holds files of its own alone"


@pytest.mark.parametrize("place", ["best/README.md", "trials/0000/best/heads.safetensors", "trials/0001", "settings.yaml"])
def test_links_in_a_search_folder_are_refused_and_not_followed(search: Path, secret: Path, place: str, tmp_path: Path) -> None:
    (search / place).symlink_to(secret if "." in place else secret.parent)
    with pytest.raises(ConfigError, match="a link; a search's folder holds its own files alone"):
        check_links(search)
    for command in ("resume", "export", "sync"):
        code, said = run(command, search)
        assert code == 2 and f"{search / place}: a link" in said and SECRET not in said
    assert not (tmp_path / "m.db").exists() and secret.read_text() == SECRET


HOSTILE_HEADERS = {
    "settings": ["a"],
    "settings ": {"trials": "many"},
    "space": "../../evil.yaml",
    "base": {"phases": [{"tasks": 3}]},
    "data_hashes": {"x": 3},
    "name": {"x": 1},
    "fixed": 3,
}


@pytest.mark.parametrize("key", HOSTILE_HEADERS)
def test_a_header_of_other_kinds_is_told(search: Path, key: str) -> None:
    Ledger.open(search).set_header(key.strip(), HOSTILE_HEADERS[key])
    for command in COMMANDS:
        code, said = run(command, search)
        assert code == 2 and f"header: {key.strip()}" in said and LEDGER_FILE in said, (command, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoder": {"name": "../../evil"}}, "no such folder"),
        ({"data": {"source": "/etc"}}, "/etc/ids-sst-train.csv: no such file"),
        ({"data": {"source": "/proc/self/fd/../../../secret"}}, "secret: no such folder"),
        ({"objective": {"distill": {"teachers": {"sst": "/etc"}}}}, "no exported model"),
    ],
)
def test_a_header_with_a_hostile_path_is_refused(search: Path, change: dict[str, object], said: str) -> None:
    Ledger.open(search).set_header("base", {**BASE.to_tree(), **change})
    code, output = run("resume", search)
    assert code == 2 and said in output


HOSTILE_ROWS = {
    "number": "UPDATE trials SET number = '../../x'",
    "number of another": "UPDATE trials SET number = 7",
    "state": "UPDATE trials SET state = 'evil'",
    "start": "UPDATE trials SET datetime_start = '../../x'",
    "deep": f"UPDATE trial_user_attributes SET value_json = '{'[' * 100_000}' WHERE key = 'config'",
    "no JSON": "UPDATE trial_user_attributes SET value_json = 'evil' WHERE key = 'config'",
    "config": "UPDATE trial_user_attributes SET value_json = '[1]' WHERE key = 'config'",
    "assignment": "UPDATE trial_user_attributes SET value_json = '{\"optimizer.lr\": [1]}' WHERE key = 'assignment'",
    "report": "UPDATE trial_user_attributes SET value_json = '{\"budget\": \"x\"}' WHERE key LIKE 'report:%'",
    "header": f"UPDATE study_user_attributes SET value_json = '{'[' * 100_000}' WHERE key = 'base'",
    "distribution": 'UPDATE trial_params SET distribution_json = \'{"name": "os.system", "attributes": {}}\'',
    "step": "UPDATE trial_intermediate_values SET step = 'x'",
    "trigger": "CREATE TRIGGER evil AFTER INSERT ON trials BEGIN DELETE FROM trials; END",
    "view": "CREATE VIEW evil AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n FROM c) SELECT n FROM c",
}


@pytest.mark.parametrize("poison", HOSTILE_ROWS)
def test_hostile_values_in_the_ledger_are_told(search: Path, poison: str) -> None:
    poison_database(search, HOSTILE_ROWS[poison])
    for command in ("leaderboard", "export", "sync"):
        code, said = run(command, search)
        assert code == 2 and "no ledger that can be read" in said, (command, said)


def test_a_ledger_cannot_write_over_the_terminal(search: Path) -> None:
    changed = json.dumps(ESCAPE)
    poison_database(
        search,
        "UPDATE trials SET state = 'FAIL'",
        f"UPDATE trial_user_attributes SET value_json = '{{\"optimizer.lr\": {changed}}}' WHERE key = 'assignment'",
        f"UPDATE trial_user_attributes SET value_json = '[{changed}, \"\"]' WHERE key = 'reason'",
    )
    for command in ("leaderboard", "leaderboard --json"):
        code, said = run(command, search)
        assert code == 0 and "\x1b" not in said and "owned" in said
