from pathlib import Path

import pytest

from trainables.attempts import ATTEMPT, SupersededError, as_next_attempt, check_attempt


def order_of(folder: Path) -> dict[str, object]:
    return {"number": 7, "folder": str(folder)}


def test_each_attempt_has_the_next_number_and_only_the_newest_may_write(tmp_path: Path) -> None:
    folder = tmp_path / "trials" / "0007"
    orders = [as_next_attempt(order_of(folder)) for _ in range(3)]
    assert [order[ATTEMPT] for order in orders] == [1, 2, 3]
    assert [{**order, ATTEMPT: 0} for order in orders] == [{**order_of(folder), ATTEMPT: 0}] * 3
    check_attempt(folder, 3)
    for attempt in (1, 2):
        with pytest.raises(SupersededError, match=f"attempt {attempt} was taken for dead, attempt 3 has the trial"):
            check_attempt(folder, attempt)
    assert [file.name for file in folder.iterdir()] == [ATTEMPT]


def test_an_order_of_a_trial_in_another_attempt_is_numbered_anew(tmp_path: Path) -> None:
    assert as_next_attempt(as_next_attempt(order_of(tmp_path)))[ATTEMPT] == 2


@pytest.mark.parametrize("content", [None, "", "x", "1"])
def test_an_old_view_of_the_file_stops_nobody(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / ATTEMPT).write_text(content)
    check_attempt(tmp_path, 2)


def test_a_disk_that_fails_leaves_the_attempt_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_next_attempt(order_of(tmp_path))

    def fail(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        as_next_attempt(order_of(tmp_path))
    check_attempt(tmp_path, 1)
