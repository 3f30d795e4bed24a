"""Run timm's own model tests, from its source distribution, on our `gc_vit_*` models, all but TorchScript.

    python runs/timm_suite.py [SOURCE] [--models gc_vit_pico …] [--published] [--threads 2]

SOURCE is timm's source distribution, packed or unpacked; without it pip downloads the one of the installed timm.
Ends with a table of the tests and exit code 0 when nothing failed. Tests that load published weights get a
stand-in of the same format and names with random values, unless --published lets them be downloaded.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from pathlib import Path
from unittest.mock import patch

import pytest
import timm
import torch

import gcvit.timm_models  # noqa: F401  registers the names
from gcvit.model import VARIANTS, GCViT
from gcvit.weights.catalogue import entry_for_file
from gcvit.weights.hub import timm_name
from gcvit.weights.names import table

TESTS = "tests/test_models.py"
NEEDED = (TESTS, "tests/__init__.py", "pyproject.toml")  # not timm itself: the installed one is under test
OUTCOMES = ("passed", "skipped", "failed")


class OurModels:
    """A pytest plugin: keeps the tests of the given models and counts how they end."""

    def __init__(self, models: set[str]) -> None:
        self.models = models
        self.counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(OUTCOMES, 0))
        self.seconds: dict[str, float] = defaultdict(float)
        self.reasons: dict[str, int] = defaultdict(int)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        ours = [item for item in items if self.wants(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(ours)])
        items[:] = ours

    def wants(self, item: pytest.Item) -> bool:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        name = str(parameters.get("model_name", "")).split(".")[0]
        return name in self.models and "torchscript" not in item.name

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = report.nodeid.split("::")[1].split("[")[0]
        self.seconds[test] += report.duration
        if report.when == "call" or report.outcome != "passed":
            self.counts[test][report.outcome] += 1
        if report.skipped:
            assert isinstance(report.longrepr, tuple)
            self.reasons[f"{report.nodeid.split('::')[1]}: {report.longrepr[2]}"] += 1

    def table(self) -> str:
        lines = [f"{'':45}" + "".join(f"{outcome:>9}" for outcome in OUTCOMES) + f"{'seconds':>10}"]
        for test, counts in self.counts.items():
            numbers = "".join(f"{counts[outcome]:9}" for outcome in OUTCOMES)
            lines.append(f"{test:45}{numbers}{self.seconds[test]:10.1f}")
        totals = "".join(f"{sum(c[outcome] for c in self.counts.values()):9}" for outcome in OUTCOMES)
        lines.append(f"{f'{len(self.models)} models':45}{totals}{sum(self.seconds.values()):10.1f}")
        return "\n".join([*lines, *(f"skipped: {reason}" for reason in self.reasons)])


class StandIns:
    """Files of the published formats with random values, one at a time, in place of downloads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def from_hub(self, repository: str, filename: str, **_: object) -> str:
        return self.write(filename)

    def from_url(self, url: str, **_: object) -> str:
        return self.write(url.rsplit("/", 1)[1])

    def write(self, file: str) -> str:
        path = self.folder / file
        if path.exists():
            return str(path)
        for old in self.folder.iterdir():
            old.unlink()
        entry = entry_for_file(file)
        assert entry is not None, f"{file} is not in the catalogue"
        layout = "timm" if entry.name.endswith(".timm") else "nvlabs"
        model = GCViT(VARIANTS[entry.model])
        ours = model.state_dict()
        state = {getattr(row, layout): ours[row.gcvit] for row in table(model.config)}
        args = argparse.Namespace(model=entry.model)
        torch.save(state if layout == "timm" else {"state_dict": state, "args": args, "epoch": 310}, path)
        return str(path)


def unpack(source: Path | None, folder: Path) -> None:
    """Put the files that the tests need under `folder`."""
    if source is None:
        wanted = f"timm=={timm.__version__}"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "timm", wanted]
        subprocess.run([*pip, "--dest", str(folder)], check=True)
        (source,) = folder.glob("timm-*.tar.gz")
    if source.is_dir():
        for name in NEEDED:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(source / name, folder / name)
        return
    with tarfile.open(source) as archive:
        for member in archive.getmembers():
            member.name = member.name.partition("/")[2]
            if member.name in NEEDED:
                archive.extract(member, folder, filter="data")


def run(folder: Path, plugin: OurModels, published: bool) -> int:
    """timm's tests in this process; returns pytest's exit code."""
    arguments = [str(folder / TESTS), "-c", str(folder / "pyproject.toml"), "--rootdir", str(folder), "-q"]
    arguments += ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestUnknownMarkWarning", "--tb=short"]
    if published:
        return int(pytest.main(arguments, plugins=[plugin]))
    (folder / "weights").mkdir()
    stand_ins = StandIns(folder / "weights")
    with (
        patch("timm.models._hub.hf_hub_download", stand_ins.from_hub),
        patch("timm.models._builder.download_cached_file", stand_ins.from_url),
    ):
        return int(pytest.main(arguments, plugins=[plugin]))


def main() -> int:
    names = [timm_name(variant) for variant in VARIANTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", help="timm's source distribution, .tar.gz or unpacked")
    parser.add_argument("--models", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--published", action="store_true", help="download the published weights (12 GB)")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plugin = OurModels(set(options.models))
    with tempfile.TemporaryDirectory() as folder:
        unpack(options.source, Path(folder))
        code = run(Path(folder), plugin, options.published)
    print(f"\ntimm {timm.__version__}, {TESTS}\n{plugin.table()}")
    return code


if __name__ == "__main__":
    sys.exit(main())
