from trainables.memory import keep_freed_memory


def test_it_can_be_said_again_and_again() -> None:
    assert keep_freed_memory() == keep_freed_memory()
