"""`python -m tests.faults.saving FOLDER`: waits for a line, then saves as a session does; somebody kills it meanwhile."""

import json
import os
import sys
from pathlib import Path

from trainables.checkpoints import keep_newest, link_or_copy, write_checkpoint

NUM_KEPT = 2
WEIGHTS, STATE = "model.safetensors", "state.json"


def save(folder: Path, report: int) -> None:
    """Checkpoint, best model, and no more than two checkpoints: what `trainables.session` does for a report."""

    def fill(aside: Path) -> None:
        (aside / "encoder").mkdir()
        (aside / "encoder" / WEIGHTS).write_bytes(bytes([report]) * 20_000)
        (aside / STATE).write_text(json.dumps({"report": report}), encoding="utf-8")

    made = write_checkpoint(folder / "checkpoints", f"report-{report:04d}", fill)
    write_checkpoint(folder, "best", lambda aside: link_or_copy(made / "encoder" / WEIGHTS, aside / WEIGHTS))
    keep_newest(folder / "checkpoints", NUM_KEPT)


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    save(Path(sys.argv[1]), 3)
    os._exit(0)  # Python's own end is no part of a save
