"""The short form of runs/kill_saves.py: SIGKILL at random moments of a save never costs a checkpoint."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "runs" / "kill_saves.py"


def test_kill_saves() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--kills", "12"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "12 of 12  whole checkpoint found" in done.stdout
    inside = re.search(r"(\d+) of 12  killed inside a save", done.stdout)
    assert inside is not None
    assert int(inside[1]) > 0
