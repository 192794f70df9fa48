import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.damages import Damage, empty, flip_bit, truncate
from tests.s3_server import S3Server
from trainables.checkpoints import MANIFEST, verify, write_checkpoint
from trainables.disk import is_disk_full
from trainables.storage import DamagedError, Storage, StorageError, below, check_storage_uri, insisted, is_storage_gone

Files = dict[str, bytes]
FILES: Files = {"weights.bin": bytes(range(256)) * 40, "state.json": b"{}\n", "encoder/config.json": b"[1]", "empty": b""}
OTHERS: Files = {**FILES, "state.json": b'{"step": 2}\n'}


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server) -> Storage:
    folder = tmp_path / "a place"
    return Storage(check_storage_uri(f"file://{folder}" if request.param == "file" else s3.at(f"tests/{tmp_path.name}")))


def sealed_folder(parent: Path, name: str, files: Files) -> Path:
    def write(folder: Path) -> None:
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)

    return write_checkpoint(parent, name, write)


def content_of(folder: Path) -> Files:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_what_is_put_is_what_is_got(storage: Storage, tmp_path: Path) -> None:
    folder = sealed_folder(tmp_path / "here", "report-0001", FILES)
    storage.put(folder, "checkpoints/report-0001")
    assert storage.sealed("checkpoints") == ["report-0001"]
    assert storage.problems_of("checkpoints/report-0001") == []
    got = storage.get("checkpoints/report-0001", tmp_path / "there", "best")
    assert got == tmp_path / "there" / "best"
    assert content_of(got) == content_of(folder)
    assert verify(got) == []


def test_put_again_it_replaces_and_removed_it_is_gone(storage: Storage, tmp_path: Path) -> None:
    for files in (FILES, OTHERS, OTHERS, {"one": b"1"}):
        storage.put(sealed_folder(tmp_path / "here", "a", files), "a")
        got = content_of(storage.get("a", tmp_path / "there", "a"))
        assert {name: got[name] for name in files} == files
        assert set(got) == {*files, MANIFEST}
    storage.remove("a")
    storage.remove("a")
    assert storage.sealed() == []
    with pytest.raises(FileNotFoundError, match="a: not there"):
        storage.get("a", tmp_path / "there", "a")


def test_files_that_both_hold_are_copied_in_the_storage(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put(sealed_folder(tmp_path, "a", FILES), "a")
    written = []
    write = Storage._write
    monkeypatch.setattr(Storage, "_write", lambda self, path, file: (written.append(file.name), write(self, path, file))[1])
    storage.put(sealed_folder(tmp_path, "b", OTHERS), "deep/b", copied_from="a")
    assert sorted(written) == [MANIFEST, "state.json"]
    assert storage.get("deep/b", tmp_path / "there", "b") and content_of(tmp_path / "there" / "b") == content_of(tmp_path / "b")


@pytest.mark.parametrize("step", range(len(OTHERS) + 2))
def test_cut_short_anywhere_a_folder_is_whole_or_not_there(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    storage.put(sealed_folder(tmp_path / "here", "a", FILES), "a")
    with monkeypatch.context() as patch:
        fail_after(step, patch)
        with pytest.raises(StorageError) if step <= len(OTHERS) else pytest.MonkeyPatch.context():
            storage.put(sealed_folder(tmp_path / "here", "a", OTHERS), "a")
    for name in storage.sealed():
        got = content_of(storage.get(name, tmp_path / "there", name))
        assert {key: value for key, value in got.items() if key != MANIFEST} in (FILES, OTHERS)
    storage.put(tmp_path / "here" / "a", "a")
    assert content_of(storage.get("a", tmp_path / "there", "a"))["state.json"] == OTHERS["state.json"]


def fail_after(num_files: int, patch: pytest.MonkeyPatch) -> None:
    """The storage is gone after so many files."""
    write, left = Storage._write, [num_files]

    def written(self: Storage, path: str, file: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("the network is down")
        write(self, path, file)

    patch.setattr(Storage, "_write", written)


@pytest.mark.parametrize("damage", [truncate, flip_bit, empty])
@pytest.mark.parametrize("file", ["weights.bin", "state.json", MANIFEST])
def test_what_is_damaged_is_named_and_not_fetched(tmp_path: Path, damage: Damage, file: str) -> None:
    storage = Storage(f"file://{tmp_path}/place")
    storage.put(sealed_folder(tmp_path / "here", "a", FILES), "a")
    chance = random.Random(0)
    damage(tmp_path / "place" / "a" / file, chance)
    with pytest.raises(DamagedError) as caught:
        storage.get("a", tmp_path / "there", "a")
    assert all("/place/a/" in problem for problem in caught.value.problems)
    assert file == MANIFEST or any(f"/place/a/{file}" in problem for problem in caught.value.problems)
    assert not (tmp_path / "there").exists() or list((tmp_path / "there").iterdir()) == []
    storage.put(tmp_path / "here" / "a", "a")
    storage.get("a", tmp_path / "there", "a")


@pytest.mark.parametrize("file", ["weights.bin", "encoder/config.json"])
def test_what_is_missing_is_named(storage: Storage, tmp_path: Path, file: str) -> None:
    storage.put(sealed_folder(tmp_path / "here", "a", FILES), "a")
    storage.delete(f"a/{file}")
    [problem] = storage.problems_of("a")
    assert f"a/{file}" in problem
    with pytest.raises(DamagedError, match="a: a file that its manifest names is not there"):
        storage.get("a", tmp_path / "there", "a")
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("name", ["../../../outside", "/outside", "a/../../outside"])
def test_nothing_is_fetched_to_where_a_name_leads_out(storage: Storage, tmp_path: Path, name: str) -> None:
    storage.write("a/outside", b"x")
    storage.write(f"a/{MANIFEST}", b'{"%s": {"size": 1, "sha256": "00"}}' % name.encode())
    with pytest.raises(DamagedError, match="leads out of the folder"):
        storage.get("a", tmp_path / "there", "a")
    assert storage.problems_of("a")
    assert not list(tmp_path.rglob("outside")) or list(tmp_path.rglob("outside")) == [tmp_path / "a place" / "a" / "outside"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    content=st.one_of(st.binary(max_size=40), st.sampled_from([b"[]", b"{}1", b'{"a": 1}', b'{"a": {"size": -1}}', b"[" * 9999]))
)
def test_a_manifest_of_anything_is_damage(tmp_path: Path, content: bytes) -> None:
    storage = Storage(f"file://{tmp_path}/place")
    storage.write(f"a/{MANIFEST}", content)
    if content.strip() != b"{}":
        with pytest.raises(DamagedError):
            storage.get("a", tmp_path / "there", "a")


def test_a_file_is_read_as_it_was_written(storage: Storage) -> None:
    assert storage.read("claim") is None
    storage.write("claim", b"one")
    storage.write("claim", b"three")
    assert storage.read("claim") == b"three"
    assert storage.read("claim", max_bytes=2) == b"th"

    storage.delete("claim")
    storage.delete("claim")
    assert storage.read("claim") is None


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        (" s3://bucket/a?region=eu-west-1 ", "s3://bucket/a?region=eu-west-1"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("file:///mnt/nfs/runs/", "file:///mnt/nfs/runs"),
        ("file:///mnt/my runs", "file:///mnt/my%20runs"),
    ],
)
def test_addresses_that_are_taken(given_: str, kept: str) -> None:
    assert check_storage_uri(given_) == kept
    assert check_storage_uri(kept) == kept


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must be given"),
        ("/mnt/nfs", "must be given"),
        ("hdfs://host/a", "must be given"),
        ("http://host/a", "must be given"),
        ("s3:///a", "it must name a bucket"),
        ("file://mnt/nfs", "an absolute path"),
        ("file:///", "an absolute path"),
        ("s3://bucket/a?regoin=x", r"region, scheme, endpoint_override, with a value, but got 'regoin'"),
        ("s3://bucket/a?region=", "with a value, but got 'region'"),
        ("file:///mnt?region=x", "none, with a value, but got 'region'"),
        ("s3://bucket/../other", r"`\.\.` must not stand in it"),
        ("s3://key:secret@bucket/a", "credentials must not stand in it"),
        ("s3://key@bucket/a", "credentials must not stand in it"),
        ("s3://bucket/a?secret_key=abc", "credentials must not stand in it"),
    ],
)
def test_addresses_that_are_refused(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as caught:
        check_storage_uri(text)
    assert "secret@" not in str(caught.value) and "abc" not in str(caught.value)


def test_what_lies_below_keeps_the_options() -> None:
    assert below("s3://b/a?region=x", "trials", "0007") == "s3://b/a/trials/0007?region=x"
    assert below("s3://b?region=x", "c") == "s3://b/c?region=x"


@pytest.mark.parametrize("of", ["bucket", "server"])
def test_who_cannot_be_reached_is_named(s3: S3Server, of: str) -> None:
    uri = s3.uri.replace("//tritune", "//nobodys") if of == "bucket" else s3.uri.replace("127.0.0.1", "127.0.0.254")
    with pytest.raises(StorageError) as caught:
        Storage(uri).write("a", b"")
    assert str(caught.value).startswith(f"{uri.partition('?')[0]}: the storage cannot be used: ") and "\n" not in str(
        caught.value
    )
    assert is_storage_gone(caught.value) and is_storage_gone(RuntimeError(f"Traceback: ...\n{caught.value}"))
    assert not is_disk_full(caught.value)
    assert not is_storage_gone(OSError("another"))


def test_a_server_that_is_silent_is_given_up_and_one_that_returns_goes_on(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.storage._REQUEST_SECONDS", 1.0)
    storage = Storage(s3.at("silent"))
    storage.write("a", b"1")
    s3.signal(signal.SIGSTOP)
    try:
        with pytest.raises(StorageError):
            storage.read("a")
    finally:
        s3.signal(signal.SIGCONT)
    assert insisted(lambda: storage.read("a"), 60) == b"1"


def failing(times: int) -> Callable[[], str]:
    left: Iterator[bool] = iter([True] * times + [False])

    def action() -> str:
        if next(left):
            raise StorageError("s3://b", "not now")
        return "done"

    return action


def test_it_is_tried_again_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    assert insisted(failing(7), 3600, pauses.append) == "done"
    assert pauses == [0.5, 1, 2, 4, 8, 15, 15]
    with pytest.raises(StorageError):
        insisted(failing(1), 0.1, pauses.append)
    with pytest.raises(ValueError, match="another"):
        insisted(lambda: (_ for _ in ()).throw(ValueError("another")), 3600, pauses.append)
    assert len(pauses) == 7
