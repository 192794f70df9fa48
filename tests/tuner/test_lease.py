import contextlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tuner import lease
from tuner.lease import Holder, Lease, LeaseHeldError, LeaseLostError, holder_of
from tuner.ledger import Ledger
from tuner.study_tables import transaction

ELSEWHERE = Holder("0" * 32, "ada@far", "another machine", 7, "1")


@pytest.fixture
def engine(ledger: Ledger) -> sa.Engine:
    return ledger._engine


def study_id(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT study_id FROM studies")).scalar_one())


def held_by(engine: sa.Engine, holder: Holder, seconds: float) -> None:
    with transaction(engine) as connection:
        lease._write(connection, study_id(engine), holder, seconds)


def test_one_holds_it_and_the_other_is_told_who(engine: sa.Engine) -> None:
    held = Lease(engine, study_id(engine))
    with pytest.raises(LeaseHeldError, match=f"{held.holder.name}, process {os.getpid()}"):
        Lease(engine, study_id(engine))
    held.release()
    Lease(engine, study_id(engine)).release()


def test_it_is_taken_once_it_has_lapsed_and_not_before(engine: sa.Engine) -> None:
    held_by(engine, ELSEWHERE, 30)
    with pytest.raises(LeaseHeldError, match="ada@far, process 7"):
        Lease(engine, study_id(engine))
    held_by(engine, ELSEWHERE, -0.001)
    Lease(engine, study_id(engine))


def test_a_holder_whose_process_is_gone_from_this_machine_holds_nothing(engine: sa.Engine) -> None:
    code = (
        "import json, dataclasses; from tuner.lease import Holder; print(json.dumps(dataclasses.asdict(Holder.this_process())))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    gone = Holder(**json.loads(done.stdout))
    assert gone.is_gone
    held_by(engine, gone, 3600)
    Lease(engine, study_id(engine))


def test_a_process_that_got_the_number_of_one_that_is_gone_is_not_it() -> None:
    ours = Holder.this_process()
    assert not ours.is_gone
    assert replace(ours, started="0").is_gone


@pytest.mark.parametrize("place", ["", "another machine"])
def test_of_another_place_nobody_knows_who_is_gone(place: str) -> None:
    assert not replace(Holder.this_process(), pid=2**22 + 1, place=place).is_gone


def test_whoever_lost_it_writes_nothing(ledger: Ledger, engine: sa.Engine) -> None:
    with ledger.held():
        ledger.set_header("before", 1)
        held_by(engine, ELSEWHERE, 30)
        with pytest.raises(LeaseLostError, match="ada@far"):
            ledger.set_header("after", 1)
        with pytest.raises(LeaseLostError):
            ledger.enqueue([{"optimizer.lr": 1e-4}])
    assert "after" not in ledger.header and not ledger._study.trials
    with engine.connect() as connection:
        assert holder_of(connection, study_id(engine)) == ELSEWHERE  # nor does it give back what is not its own


def test_it_is_renewed_while_it_is_held(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = threading.Event()
    renew = Lease.renew

    def tell(self: Lease) -> None:
        renew(self)
        renewed.set()

    monkeypatch.setattr(Lease, "renew", tell)
    with Lease(engine, study_id(engine), seconds=0.2).renewed():
        assert renewed.wait(30)
    with engine.connect() as connection:
        assert holder_of(connection, study_id(engine)) is None


def test_of_two_who_ask_at_once_one_gets_it(ledger: Ledger, tmp_path: Path) -> None:
    engines = [Ledger.open(tmp_path / "search")._engine for _ in range(4)]
    start, got = threading.Barrier(len(engines)), []

    def ask(engine: sa.Engine) -> None:
        start.wait()
        with contextlib.suppress(LeaseHeldError):
            got.append(Lease(engine, 1))

    threads = [threading.Thread(target=ask, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
