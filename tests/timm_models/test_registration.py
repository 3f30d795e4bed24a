"""timm knows our models after `import gcvit`, whichever of the two was imported first, and in other processes."""

import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from timm_models.models import created

ORDERS = [
    "import gcvit; import timm",
    "import timm; import gcvit",
    "import gcvit.wording; from timm.models import create_model",
    "import gcvit.timm_models.classifier; import timm",
    "import pickle; pickle.load(open(sys.argv[1], 'rb'))",
]
SCRIPT = """
import os, sys, torch, torchvision
for order in {}:
    child = os.fork()
    if not child:
        exec(order)
        import timm
        with torch.device("meta"):
            print(timm.create_model("gc_vit_xxtiny", num_classes=7).num_classes, len(timm.list_models("gc_vit_*")))
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, order
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork, to load torch once")
def test_whichever_is_imported_first(tmp_path: Path) -> None:
    """In processes that branch off one that has loaded what timm needs, but neither timm nor gcvit."""
    pickled = tmp_path / "model"
    pickled.write_bytes(pickle.dumps(created()))
    command = [sys.executable, "-c", SCRIPT.format(ORDERS), pickled]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["7 13"] * len(ORDERS)
