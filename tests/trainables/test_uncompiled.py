import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainables.config import TrialConfig
from trainables.lion import Lion
from trainables.uncompiled import AdamW

SETTINGS = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}


def weights() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in ((7, 3), (5,), (4, 4))]


def train(optimizer_class: type[torch.optim.Optimizer], num_steps: int, **options: object) -> list[torch.Tensor]:
    trained = weights()
    groups = [{"params": trained[:2]}, {"params": trained[2:], "lr": 0.1, "weight_decay": 0.0}]
    optimizer = optimizer_class(groups, **SETTINGS, **options)
    for number in range(num_steps):
        optimizer.zero_grad()
        assert all(weight.grad is None for weight in trained)
        sum((weight.square() * (number + 1)).sum() for weight in trained[: 2 + number % 2]).backward()
        optimizer.step()
    return [*trained, *(value for state in optimizer.state.values() for value in state.values())]


def test_its_steps_are_torchs() -> None:
    ours, torchs = train(AdamW, 5, fused=True), train(torch.optim.AdamW, 5, fused=True)
    assert len(ours) == len(torchs) == 3 + 9
    for one, other in zip(ours, torchs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("optimizer_class", [AdamW, Lion])
def test_hooks_are_called_around_a_step(optimizer_class: type[torch.optim.Optimizer]) -> None:
    [weight, *_], called = weights(), []
    optimizer = optimizer_class([{"params": [weight]}], lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: called.append(weight.detach().clone()))
    optimizer.register_step_post_hook(lambda *_: called.append(weight.detach().clone()))
    weight.sum().backward()
    optimizer.step()
    before, after = called
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, weight.detach())


TOGETHER = {"phases.0.task_schedule": "sum_of_losses", "balancing.gradients": "pcgrad"}


@pytest.mark.parametrize("changes", [{}, {"optimizer.name": "lion"}, {"objective.smart.enabled": True, **TOGETHER}])
def test_a_trial_never_imports_the_compiler(changes: dict[str, object], small_config: TrialConfig, tmp_path: Path) -> None:
    tree = json.dumps(small_config.override(changes).to_tree())
    code = f"""
import json, sys
from pathlib import Path
from trainables.config import TrialConfig
from trainables.session import TrialSession
session = TrialSession(TrialConfig.parse(json.loads({tree!r})), Path({str(tmp_path / "trial")!r}))
while not session.done:
    session.next_report()
print(*sorted(set(sys.modules) & {{"torch._dynamo", "sympy", "transformers"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
