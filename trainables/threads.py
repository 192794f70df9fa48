"""How many CPU threads torch uses; on it hang the last digits."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def torch_threads(num_threads: int) -> Iterator[None]:
    """Torch at `num_threads` CPU threads, and as it was before afterwards.  Imports torch only now: drivers use this, too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
