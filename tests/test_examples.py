"""The scripts in examples/: they parse, and the SLURM one queues again just when a run was stopped unfinished."""

import os
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("script", ["slurm.sbatch", "torchrun.sh"])
def test_bash_understands_it(script: str) -> None:
    result = subprocess.run(["bash", "-n", EXAMPLES / script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def command(folder: Path, name: str, script: str) -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("training", "code", "requeued", "task"),
    [
        ("exit 0", 0, True, "classify"),  # stopped by a signal, with all saved
        ('mkdir -p "$out"; touch "$out/report.html"', 0, False, "segment"),
        ("exit 2", 2, False, "classify"),  # a mistake stays one
    ],
)
def test_slurm_queues_again_until_there_is_a_report(
    tmp_path: Path, training: str, code: int, requeued: bool, task: str
) -> None:
    command(tmp_path, "scontrol", 'if [ "$1" = show ]; then echo node01; else echo "$@" >> requeued; fi')
    command(tmp_path, "srun", '[ "$1" = --cpus-per-task ] && shift 2; exec "$@"')
    signal = "kill -USR1 $$"  # what SLURM sends before the end must not end torchrun
    command(tmp_path, "torchrun", f'{signal}; echo "$@" > called; out="${{@: -1}}"; {training}')
    settings = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "node[01-04]", "SLURM_JOB_NUM_NODES": "4"}
    result = subprocess.run(
        ["bash", EXAMPLES / "slurm.sbatch", "imagenet_tiny", "--data", "with space"],
        cwd=tmp_path,
        env=os.environ
        | settings
        | ({} if task == "classify" else {"TASK": task})
        | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stderr
    called = (tmp_path / "called").read_text()
    assert "--nnodes 4 " in called
    assert "--rdzv-endpoint node01:29400" in called
    assert called.endswith(f"train {task} imagenet_tiny --data with space --out gcvit-runs/imagenet_tiny-77\n")
    assert (tmp_path / "requeued").exists() == requeued
    assert not requeued or (tmp_path / "requeued").read_text() == "requeue 77\n"
