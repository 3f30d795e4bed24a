"""The suite's core under every supported release of torch, each in a virtual environment that is made and removed.

    python runs/torch_versions.py [2.11 2.15] [--tests tests/laws …] [--folder FOLDER] [--keep] [-n 2]

Prints a Markdown table to be pasted into docs/results.md, each row as soon as its release is done; the names of tests
that failed go to stderr, and all that pytest printed into FOLDER. Run it where nothing else runs: twenty minutes a
release on two cores. An environment takes about 6 GB in FOLDER and some minutes to install; `torchvision` is the one
that was made for the release. Exit code 0 when nothing failed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).parents[1]
RELEASES = ("2.11", "2.12", "2.13", "2.14", "2.15")
CORE = ("laws", "model", "kernels", "engine", "parity", "weights", "export", "data", "faults")
OUTCOMES = ("passed", "failed", "error", "skipped")
SHOWN = ("torch", "torchvision", "numpy", "triton")


def requirements(release: str) -> list[str]:
    """What the core needs, with torch of this release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    tests = [name for name in extras["test"] if not name.startswith("gcvit")]
    wanted = [name for name in project["dependencies"] + extras["export"] + tests if not name.startswith("torch>")]
    return [f"torch=={release}.*", *wanted]


def make(folder: Path, release: str) -> Path:
    """The interpreter of a new environment."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    # The machine's own constraint would hold torch at one release, and torchvision needs the build from the registry.
    environment = os.environ | {"PIP_CONSTRAINT": os.devnull, "PIP_FIND_LINKS": str(folder)}
    subprocess.run([python, "-m", "pip", "install", "-qq", *requirements(release)], env=environment, check=True)
    return python


def versions(python: Path) -> str:
    """Of the packages that matter."""
    code = f"import importlib.metadata as m; print(*(f'{{name}} {{m.version(name)}}' for name in {SHOWN}), sep=', ')"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def run(python: Path, tests: list[str], processes: int) -> tuple[dict[str, int], str]:
    """How many tests ended how, and what pytest printed."""
    paths = os.pathsep.join(str(ROOT / name) for name in ("src", "tests"))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [str(python), "-m", "pytest", "-n", str(processes), "-p", "no:cacheprovider", "-rfE", *tests]
    printed = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False).stdout
    counts = dict.fromkeys(OUTCOMES, 0)
    for number, outcome in re.findall(r"(\d+) (passed|failed|error|skipped)", printed.strip().rpartition("\n")[2]):
        counts[outcome] = int(number)
    return counts, printed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", nargs="*", default=RELEASES, metavar="RELEASE")
    parser.add_argument("--tests", nargs="+", default=[f"tests/{room}" for room in CORE])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "gcvit-torch-versions")
    parser.add_argument("--keep", action="store_true", help="keep the environments, and use those that are there")
    parser.add_argument("-n", type=int, default=2, help="processes")
    options = parser.parse_args()

    print(f"| versions | {' | '.join(OUTCOMES)} | minutes |\n|---|{'---|' * (len(OUTCOMES) + 1)}", flush=True)
    wrong = 0
    for release in options.releases:
        folder = options.folder / release
        python = folder / "bin" / "python"
        if not (options.keep and python.exists()):
            shutil.rmtree(folder, ignore_errors=True)
            python = make(folder, release)
        start = perf_counter()
        counts, printed = run(python, options.tests, options.n)
        minutes = (perf_counter() - start) / 60
        (options.folder / f"{release}.txt").write_text(printed)
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", printed, re.MULTILINE)
        broken = counts["failed"] + counts["error"] + (not counts["passed"])
        wrong += broken
        print(f"| {versions(python)} | {' | '.join(map(str, counts.values()))} | {minutes:.1f} |", flush=True)
        print(*failed, sep="\n", file=sys.stderr, flush=True)
        if not options.keep:
            shutil.rmtree(folder)
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
