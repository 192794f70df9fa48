"""Timed steps for a plan: processes of their own, as many as trials would run at once here, each timing some of the configs."""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from trainables.config import TrialConfig
from trainables.parts import ConfigError
from trainables.timed import TimedTrial

PROBE_SECONDS, LAST_SECONDS = 34.0, 44.0
"""After which no step is begun, and after which what still runs is ended: a plan takes less than a minute."""
MOST_PROCESSES = 8
NO_TIME = "no time was left"


@dataclass(frozen=True)
class Probed:
    """What came of the timing.

    Attributes:
        timed: names of configs -> what they take.
        failed: names of all others -> why one could not be timed.
        num_processes: that ran at once.
        seconds: that all of it took.
    """

    timed: dict[str, TimedTrial]
    failed: dict[str, str]
    num_processes: int
    seconds: float


def probe(
    configs: Mapping[str, TrialConfig], num_processes: int, *, gpus_per_trial: float = 0.0, seconds: float = PROBE_SECONDS
) -> Probed:
    """Times some configs, the first ones first.

    Args:
        configs: by their names.
        num_processes: at once; fewer where there are fewer configs.
        gpus_per_trial: of each process; 0: as the environment has it.
        seconds: after which no step is begun.

    Raises:
        ConfigError: not one could be timed; says why.
    """
    started = time.monotonic()
    names = list(configs)
    num_processes = max(1, min(num_processes, len(names), MOST_PROCESSES))
    parts = [names[first::num_processes] for first in range(num_processes)]
    answers: dict[str, Any] = {}
    are_cut_off: list[bool] = []
    with tempfile.TemporaryFile("w+") as errors:
        running = [
            _start({name: configs[name].to_tree() for name in part}, seconds, _gpus_of(number, gpus_per_trial), errors)
            for number, part in enumerate(parts)
        ]
        try:
            for process, output in running:
                are_cut_off.append(_is_cut_off(process, started + LAST_SECONDS * seconds / PROBE_SECONDS))
                answers |= _answers(output)
        finally:
            for process, _ in running:
                if process.poll() is None:
                    process.kill()
                process.wait()
        errors.seek(0)
        last_words = [line.strip() for line in errors.read()[-4000:].splitlines() if line.strip()]
    timed = {name: TimedTrial(**answers[name]["timing"]) for name in names if "timing" in answers.get(name, {})}
    whys = {name: answer["error"] for name, answer in answers.items() if "error" in answer}
    for part, (process, _), is_cut_off in zip(parts, running, are_cut_off, strict=True):
        end = NO_TIME if is_cut_off else _why_it_ended(process.returncode, last_words)
        whys |= _unanswered([name for name in part if name not in answers], end)
    failed = {name: whys[name] for name in names if name not in timed}
    if not timed:
        why = next((why for why in failed.values() if why != NO_TIME), f"not one step ended in {seconds:g} s")
        raise ConfigError([f"--plan: no trial could be timed: {why[:300]}"])
    return Probed(timed, failed, num_processes, time.monotonic() - started)


def _start(
    configs: Mapping[str, Any], seconds: float, environment: Mapping[str, str], errors: IO[str]
) -> tuple["subprocess.Popen[str]", IO[str]]:
    """A process that times configs, and the file that it writes to: a pipe that nobody reads would hold it up."""
    output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `_answers` closes it
    process = subprocess.Popen(
        [sys.executable, "-m", "trainables.timing"],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=errors,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps({"configs": configs, "seconds": seconds}))
        process.stdin.close()
    except BrokenPipeError:  # it has ended, and says why on stderr
        pass
    return process, output


def _is_cut_off(process: "subprocess.Popen[str]", until: float) -> bool:
    """Waits for a process to end; kills it where that takes too long."""
    try:
        process.wait(max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()  # a step of its takes longer than all of it may
        return True
    return False


def _why_it_ended(returncode: int, last_words: Sequence[str]) -> str:
    """Why a process told nothing more; the kernel kills one with signal 9 where memory has run out."""
    if returncode == 0:
        return NO_TIME
    if returncode < 0:
        return f"killed by signal {-returncode}"
    return last_words[-1][:300] if last_words else f"its process ended with exit code {returncode}"


def _unanswered(names: Sequence[str], end: str) -> dict[str, str]:
    """Names that a process gave no answer for, in its order -> why: it was at the first when it ended."""
    return {name: end if end == NO_TIME or place == 0 else f"not reached: {end}" for place, name in enumerate(names)}


def _answers(output: IO[str]) -> dict[str, Any]:
    """By name; a line that was cut short is none."""
    output.seek(0)
    lines = [line for line in output.read().splitlines(keepends=True) if line.endswith("\n")]
    output.close()
    return {answer["name"]: answer for answer in map(json.loads, lines)}


def _gpus_of(number: int, gpus_per_trial: float) -> dict[str, str]:
    """The environment that shows process `number` the GPUs that Ray would give it."""
    if gpus_per_trial <= 0:
        return {}
    first = math.floor(number * gpus_per_trial + 1e-9)
    wanted: Sequence[int] = range(first, first + math.ceil(gpus_per_trial - 1e-9))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else []
    return {"CUDA_VISIBLE_DEVICES": ",".join(names[gpu] if gpu < len(names) else str(gpu) for gpu in wanted)}
