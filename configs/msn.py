"""MSN: Masked Siamese Networks for Label-Efficient Learning (arXiv 2204.07141), ImageNet-1k.

  python -m maskmim.train --config msn --workdir runs/msn
  python -m maskmim.train --config msn:small --workdir runs/msn_small

After the colon: variant=S/16 (and any of maskmim.models.vit.variant); epochs=N; shards=DIR
(docs/data.md); small (minutes on a CPU, on the embedded photographs); tiny (a few steps of a very
small model on them).

Nothing is reconstructed. An EMA of encoder and projector sees a large crop whole; the student sees
another one without 30 of its 196 patches, the same in the whole batch, and ten small crops. Class
tokens are projected to 256 values and compared with 1,024 learned prototypes by cosine. The
assignment of each anchor (softmax at temperature 0.1) learns to be that of the target, which is
sharpened to the power 4 and balanced over the batch by three rounds of Sinkhorn; me-max, the
entropy of the mean assignment of all anchors, is maximised. The recipe is that of the only
published file, configs/pretrain/msn_vits16.yaml: batch size 1,024 (64 on each of 16 GPUs), 800
epochs, AdamW, learning rate 2e-4 to 1e-3 in 15 epochs, then along a cosine to 1e-6 that would end
after 1.25 trainings, as do the weight decay from 0.04 to 0.4 and the momentum from 0.996 to 1;
gradients clipped at norm 3 but for the prototypes', which are not decayed either; projector of
three layers with 2,048 hidden units, batch norms and GELU; crops of 30 to 100 % and of 5 to 30 % of
the area, half of them blurred.

Differences: one set of hidden patches for the global batch, officially for each GPU; bfloat16
instead of float32; the projector starts as Xavier's uniform instead of N(0, 0.02); the gradient of
the prototypes is officially summed over GPUs, which Adam does not notice; the learning rate and the
weight decay of a step are officially those of the next; an epoch is every image exactly once. The
official term of weight 0, the entropy of single assignments, is not included. Evaluation reads the
EMA, as published. Without a source, hence ours: all sizes and rates of small and tiny; other
variants have the recipe of S/16. The published weights, facebook/vit-msn-small and others, are read
by config.begin and `evaluate --weights` as files of transformers.

Published results to expect (ImageNet-1k top-1, abstract; not yet reproduced by us): with 5 labelled
images a class 72.4 for a base model, with 1 % of the labels 75.7. None known for S/16.
"""

from ml_collections import ConfigDict

from maskmim.config import add, base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.data import multi_crop
from maskmim.losses import assignments
from maskmim.masks import uniform
from maskmim.methods import masked_siamese
from maskmim.models.layers.compute import compute
from maskmim.models.msn import cosine_prototypes, vit_msn
from maskmim.models.projectors import mlp
from maskmim.optim import adamw_rising_decay
from maskmim.schedules import truncated_cosine
from maskmim.teachers import average, momentum, projections

SYSTEMS = (102,)

STRETCH = 1.25  # the length of all schedules, in trainings


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, variant="S/16", epochs=800.0, shards="", small=False, tiny=False)
    config = base()
    config.method = public_path(masked_siamese.masked_siamese)
    config.mask = brick(uniform.shared, ratio=0.15)
    config.objectives = {}
    add(config, assignments=brick(assignments))
    config.evals.pooling = "class"
    if choice["tiny"]:
        tiny(config)
        teach(config, start=0.9)
    elif choice["small"]:
        small(config)
        teach(config, start=0.99)
    else:
        published(config, choice["variant"], choice["epochs"])
        teach(config, start=0.996)
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    config.model = brick(
        vit_msn, **recipes.vit_size(variant), compute=brick(compute, dtype="bfloat16")
    )
    config.calls = heads(hidden=2048, values=256, clusters=1024, dtype="bfloat16")
    config.data.augment = crops(local_size=(96, 96), local_count=10)
    config.train.epochs = epochs
    config.train.batch_size = 1024
    optimiser(config, warmup_epochs=recipes.warmup(epochs, 15.0))


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    config.input.size = (64, 64)
    config.model = brick(vit_msn, variant="micro", patch=(8, 8))
    config.calls = heads(hidden=256, values=64, clusters=64)
    config.data.augment = crops(local_size=(32, 32), local_count=4)
    config.train.epochs = 10.0
    config.train.batch_size = 64
    optimiser(config, warmup_epochs=1.0)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_images(config)
    config.model = brick(vit_msn, variant="nano", patch=(8, 8))
    config.calls = heads(hidden=32, values=16, clusters=16)
    config.data.augment = crops(local_size=(16, 16), local_count=3)
    recipes.tiny_run(config)
    optimiser(config, warmup_epochs=0.1)


def heads(hidden: int, values: int, clusters: int, dtype: str = "float32") -> dict:
    """Return the projector and the prototypes of what it makes."""
    projector = brick(
        mlp, layers=3, hidden=hidden, values=values, activation="gelu", biases=True, dtype=dtype
    )
    prototypes = brick(cosine_prototypes, clusters=clusters, inputs=values)
    return {"projector": projector, "prototypes": prototypes}


def crops(local_size: tuple[int, int], local_count: int) -> ConfigDict:
    """Return the augmentation: torchvision's jitter of strength 0.5, blur of half of the crops."""
    return brick(
        multi_crop.multi_crop,
        global_scale=(0.3, 1.0),
        local_scale=(0.05, 0.3),
        local_size=local_size,
        local_count=local_count,
        jitter=(0.4, 0.4, 0.4, 0.1),
        blur_chances=(0.5, 0.5, 0.5),
        solarise_chance=0.0,
    )


def teach(config: ConfigDict, start: float) -> None:
    """Set the EMA of encoder and projector; its momentum would be 1 after STRETCH trainings."""
    end = start + (1.0 - start) / STRETCH
    teacher = brick(
        average.average,
        find=brick(projections.projected_class),
        momentum=brick(momentum.linear, start=start, end=end),
        parts=("encoder", "projector"),
    )
    add(config, teacher=teacher)


def optimiser(config: ConfigDict, warmup_epochs: float) -> None:
    """Set `optim` and `schedule`, whose cosines would end after STRETCH trainings."""
    config.optim = brick(adamw_rising_decay, stretch=STRETCH)
    epochs = config.train.epochs
    config.schedule = brick(
        truncated_cosine.learning_rate,
        warmup_epochs=warmup_epochs,
        cut=(epochs - warmup_epochs) / (STRETCH * epochs - warmup_epochs),
        start=0.2,
        final=1e-3,
    )
