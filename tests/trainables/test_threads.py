import pytest
import torch

from trainables.threads import torch_threads


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    seen = []
    with pytest.raises(ZeroDivisionError), torch_threads(before + 1):
        seen += [torch.get_num_threads(), 1 // 0]
    with torch_threads(before + 1):
        seen.append(torch.get_num_threads())
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
