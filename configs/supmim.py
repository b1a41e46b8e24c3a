"""SupMIM: supervised training with masked image modelling (arXiv 2312.00950), ImageNet-1k.

  python -m maskmim.train --config vqgan --workdir runs/tokenizer
  python -m maskmim.train --config supmim:tokenizer=runs/tokenizer --workdir runs/supmim

After the colon: tokenizer=WORKDIR, the run of configs/vqgan.py, by default runs/tokenizer;
passes=two | one; masked=False leaves the masked task out, for comparison; variant=B/16 (any of
maskmim.models.vit.variant); epochs=N; shards=DIR (docs/data.md); small (minutes on a CPU, on the
embedded photographs); tiny (a few steps of a very small model on them). small and tiny predict the
codes of a random projection where no tokenizer is named.

A ViT learns the label of the whole picture by a linear layer on its tokens, and in the same step
the codes that a frozen tokenizer gives to hidden patches, by a shallow decoder on the visible ones.
The decoder is left behind: inference is a plain ViT's. With passes=two the encoder sees the picture
whole for the label and masked for the codes; with passes=one it sees it once, masked, for both,
which costs a quarter. The abstract says "masked image inputs" of the second task alone, which is
read as two passes.

Only the abstract and notes about the paper could be read, and no code is released. Of the sources
are the tasks, ViT-B/14 at 224 pixels (16 x 16 tokens, those of the tokenizer) and the shallow
transformer decoder. Ours: the ratio 0.75, two decoder blocks of 512, equal weights of both terms,
random masks, AdamW with 1e-3 at a batch of 1024, weight decay 0.05, label smoothing 0.1, 300 epochs
with 10 of warm-up, drop path 0.1, crops of 20 to 100 % and flips; and 256 pixels in patches of 16,
so that tokenizer and encoder see the same pixels.

Published results to expect (ImageNet-1k top-1, abstract; not reproduced by us): ViT-B/14 81.72,
without the masked task 79.71; nearest neighbours gain 1.32.
"""

from ml_collections import ConfigDict

from maskmim.config import add, base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.data.folder import LABEL_SET
from maskmim.evals.label_accuracy import label_accuracy
from maskmim.losses import cross_entropy
from maskmim.masks import roles, uniform
from maskmim.masks import views as masks
from maskmim.methods import views
from maskmim.models import classifiers
from maskmim.models.layers.compute import compute
from maskmim.models.masked_vit import vit_mae
from maskmim.objectives import classify, label, of_view
from maskmim.targets import codes
from maskmim.teachers import random_codes, tokenizers

SYSTEMS = (68,)

# Samplers of the two views: `masks.views.each` draws them in the order of their names.
HIDDEN, WHOLE = "hidden", "whole"


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        tokenizer="",
        passes="two",
        masked=True,
        variant="B/16",
        epochs=300.0,
        shards="",
        small=False,
        tiny=False,
    )
    config = base()
    if choice["tiny"]:
        tiny(config, choice["tokenizer"])
    elif choice["small"]:
        small(config, choice["tokenizer"])
    else:
        published(config, choice["variant"], choice["epochs"], choice["tokenizer"])
        recipes.imagenet_data(config, choice["shards"])
    passes = recipes.pick_option("passes", choice["passes"], {"two": two_passes, "one": one_pass})
    passes(config)
    if not choice["masked"]:
        config.objectives.codes.scale = 0.0
    return config


def one_pass(config: ConfigDict) -> None:
    """Learn labels and codes from the visible tokens."""
    config.mask = brick(uniform.random, ratio=0.75)
    config.objectives = {"codes": codes_term(), "label": label_term(config)}


def two_passes(config: ConfigDict) -> None:
    """Learn labels from the whole picture and codes from its visible tokens."""
    config.method = public_path(views.masked_views)
    hidden, whole = brick(uniform.random, ratio=0.75), brick(roles.everything)
    config.mask = brick(masks.each, samplers={HIDDEN: hidden, WHOLE: whole})
    config.objectives = {"codes": codes_term()}
    pairs = {"label": brick(of_view, objective=label_term(config), view=1)}
    add(config, pairs=pairs, predicts=(0,), reads=())


def codes_term() -> ConfigDict:
    """Return the section of the masked task."""
    return brick(classify, head="codes", target=brick(codes.codes))


def label_term(config: ConfigDict) -> ConfigDict:
    """Return the section of the supervised task, by the one set of labels of the input."""
    ((labels, classes),) = config.input.labels.items()
    config.calls = {"classify": brick(classifiers.linear, classes=classes)}
    add(config.evals.measures, label_accuracy=brick(label_accuracy, labels=labels))
    config.evals.at_end = ("label_accuracy", "knn")
    return brick(label, labels=labels, loss=brick(cross_entropy, smoothing=0.1))


def published(config: ConfigDict, variant: str, epochs: float, tokenizer: str) -> None:
    """Set the recipe on ImageNet-1k; sizes and rates are ours."""
    config.input.size = (256, 256)
    config.input.labels = {LABEL_SET: 1000}
    config.model = brick(
        vit_mae,
        **recipes.vit_size(variant),
        decoder_depth=2,
        decoder_width=512,
        decoder_heads=16,
        heads={"codes": 1024},
        drop_path=0.1,
        compute=brick(compute, dtype="bfloat16"),
    )
    teacher = brick(tokenizers.of_run, workdir=tokenizer or "runs/tokenizer", size=1024)
    config.teachers = {"tokenizer": teacher}
    config.train.update(epochs=epochs, batch_size=1024)
    warm = recipes.warmup(epochs, 10.0)
    recipes.adamw_cosine(config, lr=1e-3, lr_per=0, b2=0.999, warmup_epochs=warm)


def small(config: ConfigDict, tokenizer: str) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    size = dict(recipes.SMALL_VIT) | {"heads": {"codes": 256}}
    recipes.small_model(config, brick(vit_mae, **size))
    config.input.labels = {"fine": 81}
    add_codes(config, tokenizer, 256)


def tiny(config: ConfigDict, tokenizer: str) -> None:
    """Set a few steps of a very small model."""
    size = dict(recipes.TINY_VIT) | {"heads": {"codes": 32}}
    recipes.tiny_model(config, brick(vit_mae, **size))
    config.input.labels = {"fine": 81}
    add_codes(config, tokenizer, 32)


def add_codes(config: ConfigDict, tokenizer: str, size: int) -> None:
    """Add the codes of a run, or without one those of a random projection."""
    if tokenizer:
        teacher = brick(tokenizers.of_run, workdir=tokenizer, size=size)
    else:
        teacher = brick(random_codes.random_projection, size=size)
    config.teachers = {"tokenizer": teacher}
