import threading

import pytest

from trainables.background import in_background


def test_it_gives_what_the_action_gives() -> None:
    assert in_background(lambda: 3).result(timeout=10) == 3


def test_it_goes_on_beside_its_caller() -> None:
    begun, let_go = threading.Event(), threading.Event()

    def action() -> bool:
        begun.set()
        return let_go.wait(10)

    future = in_background(action)
    assert begun.wait(10) and not future.done()
    let_go.set()
    assert future.result(timeout=10)


def test_what_it_raises_is_raised_where_the_result_is_asked_for() -> None:
    with pytest.raises(ZeroDivisionError):
        in_background(lambda: 1 // 0).result(timeout=10)


def test_no_process_waits_for_it_at_its_end() -> None:
    started = threading.Event()
    in_background(lambda: started.set() or threading.Event().wait(60))
    assert started.wait(10)
    [thread] = [thread for thread in threading.enumerate() if thread.name == "tritune-background" and thread.is_alive()]
    assert thread.daemon
