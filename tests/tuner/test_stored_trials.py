import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.s3_server import S3Server
from trainables.checkpoints import write_checkpoint
from trainables.parts import ConfigError
from trainables.storage import Storage
from tuner.ledger import Ledger
from tuner.stored_trials import StoredTrials, check_storage, claim, new_place, search_place, trial_place


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server) -> str:
    return f"file://{tmp_path}/storage/mine" if request.param == "file" else s3.at(f"claims/{tmp_path.name}")


def copied(folder: Path, to: Path) -> Ledger:
    shutil.copytree(folder, to)
    return Ledger.open(to)


def test_a_search_goes_on_with_its_place_again_and_again(toy: Any, tmp_path: Path, place: str) -> None:
    ledger = toy.new_ledger(tmp_path / "search")
    for _ in range(3):
        claim(ledger, place)
    shutil.move(tmp_path / "search", tmp_path / "moved")
    claim(Ledger.open(tmp_path / "moved"), place)


def test_of_a_search_and_its_copy_the_first_goes_on(toy: Any, tmp_path: Path, place: str) -> None:
    ledger = toy.new_ledger(tmp_path / "search")
    claim(ledger, place)
    copy = copied(tmp_path / "search", tmp_path / "copy")
    claim(copy, place)
    with pytest.raises(ConfigError, match=r"was copied from, or to, has gone on with .*, which is ahead"):
        claim(ledger, place)
    claim(copy, place)


def test_where_the_claim_alone_is_gone_it_is_written_again(toy: Any, tmp_path: Path, place: str) -> None:
    ledger = toy.new_ledger(tmp_path / "search")
    claim(ledger, place)
    Storage(place).write("trials/0000/log.txt", b"report 1")
    Storage(place).delete("claim")
    claim(ledger, place)
    assert Storage(place).read("claim") == ledger.header["storage_claim"].encode()


def test_a_search_whose_place_is_empty_does_not_begin_again(toy: Any, tmp_path: Path, place: str) -> None:
    ledger = toy.new_ledger(tmp_path / "search")
    claim(ledger, place)
    Storage(place).delete("claim")
    with pytest.raises(ConfigError, match=r"nothing of this search stands in .*; copy there first"):
        claim(ledger, place)


@pytest.mark.parametrize("step", ["set_header", "write", "second set_header"])
def test_killed_anywhere_it_goes_on(toy: Any, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    ledger = toy.new_ledger(tmp_path / "search")
    claim(ledger, place)
    with monkeypatch.context() as patch:
        owner, name = (Storage, "write") if step == "write" else (Ledger, "set_header")
        patch.setattr(owner, name, killed(getattr(owner, name), first=step != "second set_header"))
        with pytest.raises(KeyboardInterrupt):
            claim(ledger, place)
    claim(Ledger.open(tmp_path / "search"), place)


def killed(method: Callable[..., Any], *, first: bool = True) -> Callable[..., Any]:
    """A method in whose first call, or second, the process dies."""
    left = [0 if first else 1]

    def call(*args: Any) -> Any:
        if left[0]:
            left[0] -= 1
            return method(*args)
        raise KeyboardInterrupt

    return call


def test_a_place_is_a_searchs_own_and_needs_no_quoting() -> None:
    assert new_place("my night?#%41/..", "0123456789") == "my-night---41-..-01234567"
    header = {"storage_place": "mine-0123"}
    assert search_place(header, "s3://b/x?region=y") == "s3://b/x/mine-0123?region=y"
    assert search_place(header, None) is None
    assert trial_place("s3://b/x/mine-0123?region=y", 7) == "s3://b/x/mine-0123/trials/0007?region=y"


def test_what_is_no_storage_is_told(s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for text, words in {
        "/mnt/nfs": "s3://BUCKET/PATH, gs://BUCKET/PATH or file:///PATH must be given",
        f"file://{tmp_path}/file/in": "the storage cannot be used",
        s3.at("x").replace("//tritune", "//nobodys"): "the storage cannot be used",
    }.items():
        with pytest.raises(ConfigError, match=r"^--storage: ") as caught:
            check_storage(text)
        assert words in str(caught.value)
    assert check_storage(s3.at("x")) == s3.at("x")
    assert Storage(s3.at("x")).sealed() == []


def write_trial(place: str, number: int, tmp_path: Path) -> Storage:
    storage = Storage(trial_place(place, number))
    for name in ("checkpoints/report-0002", "best/report-0002"):
        storage.put(write_checkpoint(tmp_path / "made", "x", lambda folder: (folder / "state").write_text("1") and None), name)
    storage.write("log.txt", b"a line\n")
    return storage


def test_what_is_no_longer_needed_goes_and_logs_come(tmp_path: Path, place: str) -> None:
    trials = [write_trial(place, number, tmp_path) for number in range(3)]
    stored = StoredTrials(place, tmp_path / "search")
    stored.tidy(0, keeps_model=True, has_just_ended=True)
    stored.tidy(1, keeps_model=False)
    assert stored.close(60) == ""
    assert [(trial.sealed("checkpoints"), trial.sealed("best")) for trial in trials] == [
        ([], ["report-0002"]),
        ([], []),
        (["report-0002"], ["report-0002"]),
    ]
    assert (tmp_path / "search" / "trials" / "0000" / "log.txt").read_text() == "a line\n"


def test_what_a_worker_stores_while_its_trial_ends_goes_at_the_end(tmp_path: Path, place: str) -> None:
    stored = StoredTrials(place, tmp_path / "search")
    stored.tidy(0, keeps_model=True, has_just_ended=True)
    stored.tidy(0, keeps_model=False)  # a better one has come
    trial = write_trial(place, 0, tmp_path)
    assert stored.close(60) == ""
    assert (trial.sealed("checkpoints"), trial.sealed("best")) == ([], [])


def test_a_storage_that_is_gone_disturbs_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    stored = StoredTrials(f"file://{tmp_path}/file/in", tmp_path / "search")
    stored.tidy(0, keeps_model=False, has_just_ended=True)
    problem = stored.close(0.01)
    assert re.search("removed by the next --resume|the next --resume does", problem)
