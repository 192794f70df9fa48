"""In which numbers an encoder multiplies: as a setting, or as a probe of the machine says.

bf16 pays where the hardware has products of it, and costs a factor where it has not: on one x86 CPU it is twice as fast as fp32,
on another thirty times slower (measured).  So `auto` measures, once a machine.
"""

import contextlib
import hashlib
import json
import statistics
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
import torch.nn.functional as F

from trainables.config_parts import KnownPrecision, Precision
from trainables.files import cache_folder, open_or_make, write_atomically
from trainables.plain_files import read_json

WORTH = 1.2
"""How many times as fast as fp32 another precision must be to be chosen by `auto`: last digits are given up for nothing less."""

_TOKENS, _ROUNDS = (256, 16_384), 5


def multiplying(precision: KnownPrecision, device: torch.device) -> AbstractContextManager[Any]:
    """Within it products run in that precision: bf16 by autocast; tf32 is a switch of the process (`allow_tf32`)."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def allow_tf32(precision: KnownPrecision) -> None:
    """Turns TensorFloat-32 on or off for the products of this process on a GPU; a CPU has none."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


@dataclass(frozen=True)
class Resolved:
    """A precision, and how it was come by.

    Attributes:
        asked: the config's.
        chosen: what the encoder multiplies in.
        seconds: of one linear layer's forward and backward pass in each precision, by the probe; empty where none was asked.
    """

    asked: Precision
    chosen: KnownPrecision
    seconds: dict[str, float] = field(default_factory=dict)


def resolve(asked: Precision, hidden_size: int, device: torch.device) -> Resolved:
    """The precision that is meant; `auto` is what the probe says, which the first trial of a machine makes for all.

    Args:
        asked: the config's.
        hidden_size: of the encoder.
        device: where it runs; torch must run with the trial's threads.
    """
    if asked != "auto":
        return Resolved(asked, asked)
    seconds = probe(hidden_size, device)
    return Resolved(asked, choose(seconds), seconds)


def probe(hidden_size: int, device: torch.device) -> dict[str, float]:
    """What `measure` gives on this machine, from the cache or made."""
    machine = [_processor(), str(device), _device_name(device), torch.__version__, torch.get_num_threads(), hidden_size]
    path = cache_folder() / "precision" / f"{hashlib.sha256(json.dumps(machine).encode()).hexdigest()}.json"

    def make() -> dict[str, float]:
        seconds = measure(hidden_size, device)
        write_atomically(path, json.dumps({"machine": machine, "seconds": seconds}, indent=1).encode())
        return seconds

    return open_or_make(path, lambda: _read(path), make)


def choose(seconds: dict[str, float]) -> KnownPrecision:
    """The fastest where it is `WORTH` it, else fp32."""
    fastest: KnownPrecision = min((name for name in get_args(KnownPrecision) if name in seconds), key=lambda name: seconds[name])
    return fastest if seconds[fastest] * WORTH <= seconds["fp32"] else "fp32"


def measure(hidden_size: int, device: torch.device) -> dict[str, float]:
    """Median seconds of a linear layer `hidden -> 4 hidden`, both passes, by precision; they take turns.

    Over 256 tokens on a CPU, and over 16,384 on a GPU, where fewer would measure how fast kernels are launched.
    """
    drawn = torch.Generator().manual_seed(0)
    num_tokens = _TOKENS[device.type == "cuda"]
    weight = torch.empty(4 * hidden_size, hidden_size).normal_(std=0.02, generator=drawn).to(device).requires_grad_()
    inputs = torch.empty(num_tokens, hidden_size).normal_(generator=drawn).to(device).requires_grad_()
    seconds: dict[KnownPrecision, list[float]] = {"fp32": [], "bf16": []}
    if device.type == "cuda":
        seconds |= {"tf32": []}
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        for _ in range(1 + _ROUNDS):
            for precision, times in seconds.items():
                times.append(_pass(weight, inputs, precision, device))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return {precision: statistics.median(times[1:]) for precision, times in seconds.items()}  # the first sets things up


def _pass(weight: torch.Tensor, inputs: torch.Tensor, precision: KnownPrecision, device: torch.device) -> float:
    allow_tf32(precision)
    _wait_for(device)
    started = time.perf_counter()
    with multiplying(precision, device):
        outputs = F.linear(inputs, weight)
    outputs.float().sum().backward()  # type: ignore[no-untyped-call]
    _wait_for(device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _read(path: Path) -> dict[str, float] | None:
    try:
        seconds = {str(name): float(value) for name, value in read_json(path)["seconds"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return seconds if {"fp32", "bf16"} <= seconds.keys() else None


def _processor() -> str:
    """What the CPU says of itself; hosts that share a cache folder may differ in it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""
