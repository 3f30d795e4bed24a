"""Check every published variant against a folder of reference numbers: sizes, costs, names, outputs.

    python runs/parity_all.py FOLDER [--only xxtiny small …]

FOLDER holds costs.json (parameters and multiply-accumulates per variant), nvlabs_keys.json (published names and
shapes), nvlabs_golden.json (outputs from the weights that fill.py makes, where there are any) and fill.py. Parameter
counts must be equal, costs within 0.2%, names one to one and strict, outputs within a relative 1e-5. Prints a table;
exit code 1 when anything is off.
"""

import argparse
import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType

import torch
from rich.console import Console
from rich.table import Table

import gcvit
from gcvit.bench.cost import macs, parameters

COST_TOLERANCE = 0.002
OUTPUT_TOLERANCE = 1e-5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the reference files are")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="these variants only, e.g. xxtiny small")
    options = parser.parse_args()

    costs, keys, golden = (
        json.loads((options.folder / name).read_text(encoding="utf-8"))
        for name in ("costs.json", "nvlabs_keys.json", "nvlabs_golden.json")
    )
    fill = _module(options.folder / "fill.py")
    table = Table("variant", "parameters", "GMACs", "off by", "names", "outputs", "seconds", title="Parity")
    failures = 0
    for variant in options.only or costs:
        start = time.monotonic()
        model = gcvit.create_model(f"gcvit_{variant}").eval()
        count, cost = parameters(model), macs(model, costs[variant]["size"])
        cost_error = cost / costs[variant]["macs"] - 1
        names = _load(model, fill.weights(keys[variant]))
        outputs = _compare(model, golden[variant], fill) if variant in golden else None
        verdicts = [
            count == costs[variant]["params"],
            abs(cost_error) <= COST_TOLERANCE,
            names == "strict",
            outputs is None or outputs <= OUTPUT_TOLERANCE,
        ]
        failures += not all(verdicts)
        cells = [f"{count:,}", f"{cost / 1e9:.3f}", names, "–" if outputs is None else f"{outputs:.1e}"]
        counted, priced, named, computed = (
            cell if good else f"[red]{cell}[/red]" for cell, good in zip(cells, verdicts, strict=True)
        )
        table.add_row(
            variant, counted, priced, f"{cost_error:+.3%}", named, computed, f"{time.monotonic() - start:.0f}"
        )
    Console().print(table)
    print("all agree" if not failures else f"{failures} variant(s) disagree", file=sys.stderr)
    return 1 if failures else 0


def _load(model: gcvit.GCViT, weights: dict[str, torch.Tensor]) -> str:
    """ "strict" when every published tensor has found its one parameter, in its own shape; else what happened."""
    try:
        report = gcvit.load_weights(model, weights)
    except ValueError as error:
        return str(error)
    untouched = len(weights) == len(model.state_dict()) == report.loaded
    return "strict" if untouched else str(report)


@torch.inference_mode()
def _compare(model: gcvit.GCViT, golden: dict, fill: ModuleType) -> float:
    """The largest relative error over logits, their norms, and the statistics of maps and queries."""
    trace = model.trace(fill.images(golden["batch"], golden["size"]))
    assert trace.logits is not None
    found = {
        "logits": trace.logits[:, : len(golden["logits"][0])],
        "logit_norm": trace.logits.norm(dim=1),
        "stage_mean": torch.stack([m.mean((1, 2, 3)) for m in trace.maps]),
        "stage_std": torch.stack([m.flatten(1).std(1) for m in trace.maps]),
        "query_std": torch.stack([q.flatten(1).std(1) for q in trace.queries]),
    }
    expected = {name: torch.tensor(golden[name]) for name in found}
    return max(((found[name] - expected[name]).norm() / expected[name].norm()).item() for name in found)


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
