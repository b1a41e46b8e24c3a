"""Fine-tuning on labels: a run's encoder, or weights of a file, trained to tell classes apart.

  python -m maskmim.train --config finetune:begin=runs/quickstart --workdir runs/finetuned
  python -m maskmim.train --config finetune:begin=runs/mae_b16,labels=label --workdir runs/mae_tuned
  python -m maskmim.train --config finetune:begin=vit-mae-base,variant=B/16 --workdir runs/tuned
  python -m maskmim.train --config finetune:begin=runs/a,train=/data/train,test=/data/val \
      --workdir runs/tuned

After the colon: begin=RUN, or begin=FILE of weights (docs/weights.md; begin= may be left out, and
without it training starts from scratch); variant=B/16, or depth x width x heads as 4x128x4/12 (the
network without begin, and of a file whose own one does not do; a run and a file say it themselves);
recipe=mae | small (by itself mae for the variants B, L and H, small for others);
train=DIR, test=DIR (labelled images, a subfolder for each class, in place of those of the run);
labels=SET, classes=N (the set of labels and its classes; by themselves the set of evals.train with
the most classes); pooling=mean | class; epochs=N; size=N pixels (by itself the run's); alone (train
no twin from scratch); from_scratch (train the twin by itself: the network of `begin` without its
weights); shards=DIR (ImageNet of a file or without begin, docs/data.md); tiny (a few steps on the
embedded photographs, for tests).

A run's images, their size and their labels are used again, unless others are given. At the end a
twin is trained from scratch with the same budget, in WORKDIR/from_scratch, and a table compares
both with the linear probe in the run's results: docs/finetuning.md.

recipe=mae is that of the official FINETUNE.md and main_finetune.py of MAE (arXiv 2111.06377): AdamW
(0.9, 0.999), weight decay 0.05, batches of 1024, 5 epochs of warm-up, cosine to 1e-6, mixup 0.8,
CutMix 1.0, label smoothing 0.1, random erasing 0.25, RandAugment (9, 0.5), crops of 8 to 100 % of
the picture, mean of the patch tokens with a norm of its own.

              rate per 256   layer decay   drop path   epochs   top-1 to expect (not reproduced)
  B/16            5e-4           0.65          0.1       100        83.6
  L/16            1e-3           0.75          0.2        50        85.9
  H/14            1e-3           0.75          0.3        50        86.9

Differences: fixed sine positions of a run stay fixed, which the official code trains; partners of
mixup are half a batch away (methods/mixing.py).
recipe=small is ours, for a few thousand images and a small ViT. The twin from scratch learns
without layer decay, which would hold its lower blocks back.
"""

from pathlib import Path

from ml_collections import ConfigDict

from maskmim.checkpoints.workdir import load_config
from maskmim.config import ConfigError, add, base, bind, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.config.recipes_finetune import encoder_of, use_data_of, use_folders
from maskmim.data import rand_augment
from maskmim.data.folder import LABEL_SET
from maskmim.data.transforms import random_resized_crop_flip
from maskmim.evals.label_accuracy import label_accuracy
from maskmim.inference.file_source import config_of_file
from maskmim.losses import smoothed_cross_entropy
from maskmim.methods import supervised
from maskmim.methods.erasing import random_erasing
from maskmim.methods.mixing import mixup_or_cutmix
from maskmim.models.classifiers import linear, normed_linear
from maskmim.models.encoder_only import vit_encoder
from maskmim.models.layers.compute import compute
from maskmim.models.vit import VARIANTS
from maskmim.models.vit import variant as variant_size
from maskmim.objectives import soft_label
from maskmim.optim import adamw_layerwise
from maskmim.schedules import warmup_cosine

# Variant: rate per 256 images, layer decay, drop path, epochs.
PUBLISHED = {
    "B": (5e-4, 0.65, 0.1, 100.0),
    "L": (1e-3, 0.75, 0.2, 50.0),
    "H": (1e-3, 0.75, 0.3, 50.0),
}
LAST_RATE = 1e-6
# What the twin changes: it begins from nothing, and all its blocks learn at one rate.
NOTHING = "begin.workdir=", "begin.file=", "begin.weights=trained", "begin.take=", "begin.fresh="
FROM_SCRATCH = (*NOTHING, "optim.decay=1.0")
# The set of labels of ImageNet in tensorflow-datasets, and its classes.
IMAGENET = ("label", 1000)


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        bare="begin",
        begin="",
        variant="",
        recipe="",
        labels="",
        classes=0,
        pooling="mean",
        epochs=0.0,
        size=0,
        alone=False,
        from_scratch=False,
        train="",
        test="",
        shards="",
        tiny=False,
    )
    recipes.pick_option("pooling", choice["pooling"], {"mean": 1, "class": 1})
    config = base()
    config.method = public_path(supervised.supervised)
    add(config, mix=None, erase=None)
    pretrained(config, choice)
    if choice["train"] or choice["test"]:
        use_folders(config, choice["train"], choice["test"])
        share_classes(config)
    chosen = choice["recipe"] or ("mae" if config.model.variant in PUBLISHED else "small")
    recipe = recipes.pick_option("recipe", chosen, {"mae": mae, "small": small})
    recipe(config, choice["epochs"])
    if choice["tiny"]:
        recipes.tiny_run(config, epochs=choice["epochs"] or 0.25)
        config.schedule.warmup_epochs = 0.1
    if choice["size"]:
        config.input.size = (choice["size"],) * 2
    classify(config, choice)
    begun = bool(config.begin.workdir or config.begin.file)
    if begun and not choice["alone"]:
        add(config, compare={"from_scratch": FROM_SCRATCH})
    if choice["from_scratch"]:
        config.optim.decay = 1.0
    return config


def pretrained(config: ConfigDict, choice: dict) -> None:
    """Set `begin`, the network without its norm, and the data that they are of."""
    begin, tiny, from_scratch = choice["begin"], choice["tiny"], choice["from_scratch"]
    place = Path(begin).expanduser()
    if begin and not place.exists():
        raise ConfigError(f"begin={begin}: there is no run and no file of that name")
    if begin and not from_scratch:
        config.begin.take = ("encoder",)
    if (place / "checkpoints").is_dir():
        if choice["variant"]:
            raise ConfigError(
                f"variant={choice['variant']}: the run {begin} says its network; leave variant out"
            )
        run = load_config(place)
        config.model = encoder_of(run.model)
        use_data_of(config, run)
        if not from_scratch:
            config.begin.workdir = begin
            config.begin.weights = "trained" if run.ema is None else "average"
        return
    network_of_file(config, begin, choice["variant"], tiny)
    if tiny:
        recipes.tiny_images(config)
    elif not choice["train"]:
        recipes.imagenet_data(config, choice["shards"])
    if begin and not from_scratch:
        config.begin.file = begin


def network_of_file(config: ConfigDict, begin: str, variant: str, tiny: bool) -> None:
    """Set the network of a variant, or without one that of the weights in a file."""
    precision = brick(compute, dtype="float32" if tiny else "bfloat16")
    if begin and not variant and not tiny:
        found = config_of_file(begin)
        config.input = found.input.copy_and_resolve_references()
        config.model = encoder_of(found.model)
        config.model.update(variant=short_name(config.model.variant), compute=precision)
        return
    size = {"variant": "nano", "patch": (8, 8)} if tiny else recipes.vit_size(variant or "B/16")
    config.model = brick(vit_encoder, **size, compute=precision)


def short_name(sizes: str) -> str:
    """Return the name of a variant of these sizes, 12x768x12x3072 -> B; the sizes where none is."""
    named = (name for name, size in VARIANTS.items() if size == variant_size(sizes))
    return next(named, sizes)


def share_classes(config: ConfigDict) -> None:
    """Name the classes of the training folder for a test folder that lacks some of them."""
    learnt, tested = (
        bind(source)().labels[LABEL_SET] for source in (config.data.train, config.evals.test)
    )
    if set(tested) < set(learnt):
        config.evals.test.classes = tuple(learnt)


def mae(config: ConfigDict, epochs: float) -> None:
    """Set the published recipe for a ViT-B, L or H."""
    chosen = recipes.pick_option("variant", config.model.variant, PUBLISHED)
    rate, decay, config.model.drop_path, published = chosen
    config.train.update(epochs=epochs or published, batch_size=1024)
    config.mix, config.erase = brick(mixup_or_cutmix), brick(random_erasing)
    config.data.augment = brick(rand_augment.rand_augment_crop_flip)
    config.evals.monitors = ("held_out",)
    learn(config, lr=rate, lr_per=256, decay=decay, warmup_epochs=5.0)


def small(config: ConfigDict, epochs: float) -> None:
    """Set the recipe for small images, few of them, and a small ViT; all of it ours."""
    config.train.update(epochs=epochs or 10.0, batch_size=32)
    config.data.augment = brick(random_resized_crop_flip, scale=(0.5, 1.0))
    config.evals.monitors = ()
    learn(config, lr=4e-3, lr_per=0, decay=0.75, warmup_epochs=1.0)


def learn(
    config: ConfigDict, *, lr: float, lr_per: int, decay: float, warmup_epochs: float
) -> None:
    """Set `optim` and `schedule`: layer-wise AdamW, a warm-up and half a cosine."""
    config.optim = brick(adamw_layerwise, lr=lr, lr_per=lr_per, decay=decay)
    peak = lr * config.train.batch_size / lr_per if lr_per else lr
    warmup = recipes.warmup(config.train.epochs, warmup_epochs)
    config.schedule = brick(warmup_cosine, warmup_epochs=warmup, final=LAST_RATE / peak)
    config.checkpoint.every_epochs = 1.0


def classify(config: ConfigDict, choice: dict) -> None:
    """Set the classifier, its objective and what is measured of it."""
    name, classes = label_set(config, choice["labels"], choice["classes"])
    pooling = choice["pooling"]
    config.input.labels = {name: classes}
    config.model.last_norm = pooling == "class"
    head = linear if pooling == "class" else normed_linear
    config.calls = {"classify": brick(head, classes=classes)}
    loss = brick(smoothed_cross_entropy, smoothing=0.1)
    config.objectives = {name: brick(soft_label, labels=name, loss=loss, pooling=pooling)}
    config.evals.pooling = pooling
    config.evals.at_end = config.evals.during = ("label_accuracy",)
    measure = brick(label_accuracy, labels=name, pooling=pooling)
    add(config.evals.measures, label_accuracy=measure)


def label_set(config: ConfigDict, name: str, classes: int) -> tuple[str, int]:
    """Return the set of labels to learn and its classes, read from the data where not known."""
    source = config.evals.train
    if source is None:
        raise ConfigError(
            "nothing to learn: the run names no labelled images (evals.train). Add train=DIR,"
            "test=DIR, two folders with a subfolder for each class"
        )
    if source == recipes.imagenet("train"):
        return name or IMAGENET[0], classes or IMAGENET[1]
    if name and classes:
        return name, classes
    sets = {each: len(names) for each, names in bind(source)().labels.items()}
    if not sets or (name and name not in sets):
        there = ", ".join(sorted(sets)) or "none"
        raise ConfigError(f"labels={name or 'SET'}: evals.train has {there}")
    name = name or max(sets, key=lambda each: sets[each])
    if classes and classes < sets[name]:
        raise ConfigError(f"classes={classes}: {name!r} has {sets[name]}; leave classes out")
    return name, classes or sets[name]
