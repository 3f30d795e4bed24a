"""Runs a notebook's cells in this process, as a kernel would, and keeps what they print and show.

`python tests/notebooks.py examples/quickstart.ipynb` runs it where it lies and saves it with its outputs.
"""

import ast
import base64
import json
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image


def run(path: Path, parameters: Mapping[str, object] | None = None) -> dict[str, Any]:
    """The notebook with the outputs of its cells, run in turn in the current folder.

    parameters: values to set after the cell that is tagged "parameters". Raises what a cell raises.
    """
    notebook = json.loads(path.read_text("utf8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        printed, said = StringIO(), StringIO()
        with redirect_stdout(printed), redirect_stderr(said):
            shown = _execute("".join(cell["source"]), names)
        streams = {"stdout": printed.getvalue(), "stderr": said.getvalue()}
        cell["outputs"] = [
            {"output_type": "stream", "name": name, "text": text.splitlines(keepends=True)}
            for name, text in streams.items()
            if text
        ]
        if shown is not None:
            result = {"output_type": "execute_result", "metadata": {}, "data": _data(shown)}
            cell["outputs"].append(result | {"execution_count": number + 1})
        cell["execution_count"] = number + 1
        if "parameters" in cell["metadata"].get("tags", []):
            names |= parameters or {}
    return notebook


def _execute(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; returns the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    exec(compile(tree, "<cell>", "exec"), names)
    return None if last is None else eval(compile(last, "<cell>", "eval"), names)


def _data(shown: object) -> dict[str, Any]:
    if not isinstance(shown, Image.Image):
        return {"text/plain": repr(shown).splitlines(keepends=True)}
    content = BytesIO()
    shown.save(content, "PNG", optimize=True)
    return {
        "image/png": base64.b64encode(content.getvalue()).decode(),
        "text/plain": [f"<{shown.width}×{shown.height} picture>"],
    }


if __name__ == "__main__":
    place = Path(sys.argv[1]).absolute()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        finished = run(place)
    place.write_text(json.dumps(finished, indent=1, ensure_ascii=False) + "\n", "utf8")
