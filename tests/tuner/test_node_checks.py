import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.s3_server import S3Server
from tests.tuner.planning import TINY
from trainables.storage import Storage, StorageError
from tuner import node_checks
from tuner.node_checks import code_sha256, look_from_here
from tuner.prepare import prepare

NONCE = "8f" * 16


@pytest.fixture
def order(data: Path, tmp_path: Path) -> dict[str, Any]:
    """What a driver asks a node that has all that it needs."""
    plan = prepare({}, set_texts=[TINY], data=str(data))
    (tmp_path / "nonce").write_text(NONCE)
    return {
        "code_sha256": code_sha256(),
        "place": tmp_path.as_uri(),
        "what": f"the search's folder {tmp_path}/search",
        "nonce_file": "nonce",
        "answer_file": "answer",
        "nonce": NONCE,
        "config": plan.base.to_tree(),
        "data_hashes": plan.data_hashes,
        "encoder_sha256": plan.encoder_sha256,
    }


def test_a_node_with_all_that_it_needs_answers_where_it_was_asked(order: dict[str, Any], tmp_path: Path) -> None:
    assert look_from_here(order) == []
    assert (tmp_path / "answer").read_text() == NONCE


def test_a_storage_is_looked_at_in_the_same_way(order: dict[str, Any], s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Storage(s3.at("nodes"))
    of_storage = {**order, "place": place.uri, "what": "--storage s3://tritune/nodes"}
    [problem] = look_from_here(of_storage)
    assert problem.startswith("--storage s3://tritune/nodes must lie on storage that all nodes see")
    place.write("nonce", NONCE.encode())
    assert look_from_here(of_storage) == []
    assert place.read("answer") == NONCE.encode()
    monkeypatch.setattr(Storage, "write", lambda self, *_file: (_ for _ in ()).throw(StorageError(self.uri, "denied")))
    [problem] = look_from_here(of_storage)
    assert problem.startswith("--storage s3://tritune/nodes must be readable and writable from all nodes, but is not: ")
    assert problem.endswith("denied")


def test_what_is_not_seen_is_told(order: dict[str, Any], tmp_path: Path) -> None:
    [problem] = look_from_here({**order, "nonce_file": "elsewhere"})
    assert problem.startswith(f"{order['what']} must lie on storage that all nodes see")
    [problem] = look_from_here({**order, "nonce": "another"})
    assert "but another one stands there" in problem
    (tmp_path / "answer").mkdir()
    [problem] = look_from_here(order)
    assert "must be readable and writable from all nodes, but is not" in problem


def test_other_code_other_data_and_another_encoder_are_told_at_once(order: dict[str, Any], data: Path) -> None:
    (data / "quora-dev.csv").write_text((data / "quora-dev.csv").read_text().replace("film 1", "film one"))
    problems = look_from_here({**order, "code_sha256": "0" * 64, "encoder_sha256": "1" * 64})
    assert len(problems) == 3
    for words in ("code of its trials differs", "quora-dev.csv", "encoder"):
        assert any(words in problem for problem in problems), words


def test_data_that_are_not_there_are_told(order: dict[str, Any], data: Path) -> None:
    shutil.rmtree(data)
    [problem] = look_from_here(order)
    assert str(data) in problem


def test_the_sum_over_the_code_sees_every_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(node_checks.trainables, "__file__", str(tmp_path / "__init__.py"))
    sums = []
    for name, text in [("b.py", ""), ("b.py", "x"), ("a/b.py", ""), ("a/b.py", "x")]:
        (tmp_path / name).write_text(text)
        code_sha256.cache_clear()
        sums.append(code_sha256())
    (tmp_path / "notes.txt").write_text("no code")
    code_sha256.cache_clear()
    assert code_sha256() == sums[-1]
    code_sha256.cache_clear()
    assert len(set(sums)) == len(sums)
