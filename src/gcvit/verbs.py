"""What the commands do, for whoever works in Python: train, evaluate and export models of any task, opened by
`gcvit.open`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from gcvit.engine.folder import Resume
from gcvit.engine.settings import Precision
from gcvit.errors import UserError
from gcvit.export.formats import Format, Part
from gcvit.export.trained import as_exported
from gcvit.export.writing import export_path, require_packages, write_export
from gcvit.model.config import Pair
from gcvit.tasks import task_for
from gcvit.tasks import train as training
from gcvit.tasks.config import BadImages, RunConfig, Share
from gcvit.tasks.evaluate import Measured
from gcvit.tasks.evaluate import evaluate as measure
from gcvit.tasks.opened import Opened
from gcvit.tasks.runs import hold_out, run_of


def train(
    config: RunConfig, out: str | Path | None = None, *, name: str | None = None, resume: Resume = "auto"
) -> training.TrainResult:
    """Train a model of the task that the configuration is for, and say what was reached and where it lies.

    config: such as `CLASSIFY.recipes["quickstart"].config()` with changes, or a `ClassifyConfig` of its own.
    out: the folder; None: the next of gcvit-runs/NAME-001, -002, …. An unfinished run in it goes on, exactly as if it
    had never stopped, unless `resume` is "never". Raises as `gcvit.tasks.train.train` does.
    """
    return training.train(task_for(config), config, out, name=name, resume=resume)


def evaluate(
    model: Opened,
    data: str | Path | None = None,
    *,
    val_fraction: Share = "own",
    looks: Any = None,
    batch_size: int | None = None,
    workers: int = 0,
    device: str = "auto",
    precision: Precision | None = None,
    bad_images: BadImages | None = None,
) -> Measured:
    """Measure an opened model on held-out pictures: `data`, or what its run held out, or built-in pictures.

    val_fraction: of data without a validation part, what is measured: "own": of the run's own data what it held out,
        of others everything; a number: the share that training with it held out; None: everything. Of images that the
        model was trained on it warns, and counts them.
    looks: how the model is shown pictures, the task's own dataclass, such as `ClassifyLooks(tta="flip")`.
    bad_images: "error" raises for a picture that cannot be read, "skip" leaves it out and lists it.
    What is None is as in the model's run, or else as usual.

    Raises UserError for what cannot be measured on, and for classes that the model does not know.
    """
    task, run = model.task, run_of(model.source, model.task)
    config = task.config() if run is None else run.config
    if looks is None and run is not None:
        looks = task.training_looks(config)
    if data is not None:
        config = replace(config, data=str(data))
    (held_out,) = hold_out([model], config, [run], val_fraction)
    return measure(
        model,
        held_out,
        looks=looks,
        batch_size=batch_size,
        workers=workers,
        bad_images=bad_images or config.bad_images,
        device=device,
        precision=precision or config.precision,
    )


def export_model(
    model: Opened, to: Format, out: str | Path = "exported", *, size: Pair | None = None, part: Part = "model"
) -> Path:
    """Write an opened model as a file of another runtime, beside a sidecar with classes and preprocessing, and return
    its path; `gcvit.open` opens it.

    It is run and compared with the model on noise, and kept only where it agrees. size: (height, width) in pixels of
    the images that it takes; None: the model's own. Raises UserError where it disagrees, for packages that are missing,
    and where another model's export lies.
    """
    require_packages(to, int8=False)
    trained = as_exported(model, part)
    if size is not None:
        trained = trained.resized(size)
    path = export_path(Path(out), trained, to, int8=False)
    export = write_export(trained, path, to, pictures={}, min_agreement=0.0, progress=lambda text: None)
    if export.problem is not None:
        raise UserError(f"{path} was not written: {export.problem}")
    return path
