"""A classifier in a folder and its files, which several tests read."""

from pathlib import Path

from gcvit.cli.main import main
from gcvit.data.shapes import CLASSES
from gcvit.export.formats import Format
from gcvit.factory import create_model
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing
from laws.weights import meaningful_weights
from once import Once

SIZE = (64, 96)


def classifier(once: Once) -> Path:
    """The folder of a model for the built-in shapes, untrained. Do not change it."""

    def save(folder: Path) -> None:
        model = meaningful_weights(create_model("gcvit_pico", num_classes=len(CLASSES), img_size=SIZE), 0)
        save_hub(model, folder / "model", preprocessing=Preprocessing(SIZE, crop_pct=0.9), labels=list(CLASSES))

    return once("classifier", save) / "model"


def exported_classifier(once: Once, to: Format) -> Path:
    """That model in a file of a format, as the command exports it. Do not change it."""

    def export(folder: Path) -> None:
        main(["export", str(classifier(once)), "--to", to, "--out", str(folder)])

    folder = once(f"classifier-{to}", export)
    (sidecar,) = folder.glob("*.json")
    return sidecar.with_suffix("")
