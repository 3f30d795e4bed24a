"""ImageNet-1K as GC ViT was really trained on it, the paper's Table S.3, and fine-tuning at 384 and 512 px.

IMAGENET is a folder with train/ and val/ of class folders (docs/data.md has the other forms). The batch and its
learning rate are the whole run's, however many processes share it: `--accumulate` is the number of passes in which each
of them computes its part, here as many as give a GPU the images of the paper's, 128 or 32. Fewer passes need more
memory; the result is the same. Another `--batch-size` scales the learning rate.

Cost: the paper says 32 hours on 32 A100 on average over its models. Here those 1,024 hours are shared out by
images × GMACs, which makes 0.228 A100-hours for 1e15 MACs of the forward pass; nobody has measured ours.
Top-1, in percent: the paper's own, and NVlabs' later published checkpoint. Neither is ours.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from gcvit.engine.settings import OptimConfig
from gcvit.tasks.ablations import ABLATIONS
from gcvit.tasks.classify.config import AugmentConfig, ClassifyConfig
from gcvit.tasks.recipe import Recipe
from gcvit.weights.catalogue import default_entry

# Of the paper's runs. A "local batch" of Table S.3 is one GPU's part of an update. NVlabs' script does not scale the
# learning rate with the batch, so all four rows have the one that is known for GC ViT-T.
GPUS = 32

AUGMENT = AugmentConfig(
    scale=(0.08, 1.0),
    color_jitter=0.4,
    rand_augment="rand-m9-mstd0.5-inc1",
    random_erasing=0.25,
    mixup=0.8,
    cutmix=1.0,
    label_smoothing=0.1,
)


def from_scratch(model: str, *, batch_size: int, lr: float, ema_decay: float | None = 0.9998) -> ClassifyConfig:
    """`model` at 224 px: cosine over 310 epochs, the first 20 of them warm-up, then 10 epochs at its end."""
    return ClassifyConfig(
        model=model,
        crop_pct=_published_crop(model),
        epochs=320,
        batch_size=batch_size,
        workers=8,
        optim=OptimConfig(
            lr=lr,
            lr_batch=batch_size,
            weight_decay=0.05,
            clip_grad=5.0,
            warmup="20 epochs",
            cooldown="10 epochs",
            warmup_lr=1e-6,
            min_lr=5e-6,
            ema_decay=ema_decay,
            ema_warmup=False,
        ),
        augment=AUGMENT,
    )


def _ablated(name: str) -> ClassifyConfig:
    return replace(from_scratch("gcvit_tiny", batch_size=4096, lr=5e-3), ablation=name)


def at_higher_resolution(model: str, weights: str) -> ClassifyConfig:
    """`weights` fine-tuned as `model` sees images; ours, after ConvNeXt (Liu et al., 2022), since NVlabs' is unknown.

    ConvNeXt's decay of 0.8 over 12 groups of layers is 0.93 over the 35 here.
    """
    return ClassifyConfig(
        model=model,
        weights=weights,
        crop_pct=_published_crop(model),
        epochs=30,
        batch_size=512,
        workers=8,
        optim=OptimConfig(
            lr=5e-5, lr_batch=512, layer_decay=0.93, weight_decay=1e-8, warmup="0 epochs", min_lr=1e-6, ema_decay=0.9999
        ),
        augment=AugmentConfig(
            scale=(0.08, 1.0), rand_augment=AUGMENT.rand_augment, random_erasing=0.25, label_smoothing=0.1
        ),
    )


def _published_crop(model: str) -> float:
    """What NVlabs evaluates its checkpoint with."""
    entry = default_entry(model)
    assert entry is not None
    return entry.preprocessing.crop_pct


LATER = "NVlabs' later configuration file has a learning rate of 0.005; the paper's weights were trained with this one."
FILE = "Its learning rate is that of NVlabs' configuration file."
# variant, batch, learning rate, A100-hours, GMACs, top-1 of the paper and of the published checkpoint, what else to say
SIZES = (
    ("xxtiny", 4096, 5e-3, "200", "2.12", "the paper 79.8", "79.9", ""),
    ("xtiny", 4096, 5e-3, "270", "2.91", "the paper 82.0", "82.0", ""),
    ("tiny", 4096, 5e-3, "450", "4.76", "the paper 83.4", "83.5", ""),
    ("tiny2", 4096, 5e-3, "580", "6.18", "not in the paper", "83.7", FILE),
    ("small", 1024, 2e-3, "800", "8.53", "the paper 83.9", "84.3", LATER),
    ("small2", 1024, 5e-3, "1,100", "11.54", "not in the paper", "84.8", FILE),
    ("base", 1024, 1e-3, "1,400", "14.82", "the paper 84.4", "85.0", LATER),
    ("large", 1024, 1e-3, "3,000", "32.55", "the paper 84.6", "85.7", LATER),
)
ABLATED = """
GC ViT-T with one part of its design changed, all else as in imagenet_tiny; docs/ablations.md defines it, and
gcvit tables has the paper's figures. On small images: --model gcvit_pico or any other recipe with --ablation.
"""
# side, A100-hours, GMACs, top-1 of the published checkpoint, passes on one GPU, on one node, on four
LARGE = (("384", "910", "103.9", "87.4", 64, 8, 2), ("512", "1,800", "202.1", "87.6", 128, 16, 4))
# a GPU's images, moving average, top-1 of the paper
TABLE_S3 = ((32, False, "83.37"), (128, False, "83.38"), (32, True, "83.39"), (128, True, "83.40"))


def paper_name(size: str) -> str:
    """xxtiny → XXT, small2 → S2, base → B."""
    for word in ("tiny", "small", "base", "large"):
        size = size.replace(word, word[0])
    return size.upper()


def _commands(name: str, one: int, node: int, many: int = 1) -> tuple[tuple[str, str], ...]:
    """How to start a recipe, with the passes that give a GPU as many images at once as the paper's had."""
    train, passes = f"train classify {name} --data IMAGENET", "" if many == 1 else f" --accumulate {many}"
    return (
        ("One GPU", f"gcvit {train} --accumulate {one}"),
        ("One node", f"torchrun --nproc-per-node 8 -m gcvit {train} --accumulate {node}"),
        ("Many nodes", f"sbatch --nodes 4 examples/slurm.sbatch {name} --data IMAGENET{passes}"),
    )


def _recipes() -> Iterator[Recipe]:
    for size, batch, lr, hours, gmacs, paper, published, note in SIZES:
        name = f"imagenet_{size}"
        yield Recipe(
            name,
            partial(from_scratch, f"gcvit_{size}", batch_size=batch, lr=lr),
            does=f"ImageNet: GC ViT-{paper_name(size)} at 224 px",
            cost=f"about {hours} A100-hours (410 M images × {gmacs} GMACs)",
            text=f"Top-1: {paper}; the published checkpoint {published}.\n{note}",
            commands=_commands(name, GPUS, 4),
        )
    for side, hours, gmacs, published, *passes in LARGE:
        name = f"imagenet_large_{side}"
        yield Recipe(
            name,
            partial(at_higher_resolution, f"gcvit_large_{side}_21k", weights="gcvit_large_21k"),
            does=f"ImageNet: GC ViT-L, to {side} px",
            cost=f"about {hours} A100-hours (38 M images × {gmacs} GMACs)",
            text="Fine-tuned from NVlabs' ImageNet-21K checkpoint at 224 px (top-1 86.6; non-commercial).\n"
            f"Top-1: not in the paper; the published checkpoint {published}.",
            commands=_commands(name, *passes),
        )
    for local, ema, paper in TABLE_S3:
        name = f"table_s3_{local}{'_ema' if ema else ''}"
        yield Recipe(
            name,
            partial(from_scratch, "gcvit_tiny", batch_size=local * GPUS, lr=5e-3, ema_decay=0.9998 if ema else None),
            does=f"Table S.3: batch 32 × {local}, {'EMA' if ema else 'no EMA'}",
            cost="about 450 A100-hours (410 M images × 4.76 GMACs)",
            text=f"Top-1: the paper {paper}; no published checkpoint.",
            commands=_commands(name, GPUS, 4),
        )
    for ablation in ABLATIONS.values():
        yield Recipe(
            ablation.name,
            partial(_ablated, ablation.name),
            does=ablation.does,
            cost="about 450 A100-hours (410 M images × 4 to 5 GMACs)",
            text=ABLATED,
            commands=_commands(ablation.name, GPUS, 4),
        )


IMAGENET = tuple(_recipes())
