"""The model as it is, neither folded nor rewritten, through torch's own exporter."""

from pathlib import Path

import pytest
import torch

from laws.models import SMALL, assert_equal, random_images, small_model


def test_onnx_from_torchs_own_call(tmp_path: Path) -> None:
    """With a free batch and its learned weights; windows that fit and others that leave a remainder, queries that are
    made smaller and larger."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = small_model(dtype=torch.float32, layer_scale=0.1)
    example = random_images(2, *SMALL.img_size, dtype=torch.float32)
    batch = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(model, (example,), tmp_path / "x.onnx", dynamo=True, dynamic_shapes=batch, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 3):
        images = random_images(count, *SMALL.img_size, seed=count, dtype=torch.float32)
        (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        with torch.no_grad():
            assert_equal(torch.from_numpy(found), model(images), f"logits of {count}", tolerance=1e-5)
