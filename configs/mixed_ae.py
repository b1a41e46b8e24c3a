"""MixedAE: Mixed Autoencoder for Self-supervised Visual Representation Learning (arXiv 2303.17152).

  python -m maskmim.train --config mixed_ae --workdir runs/mixed_ae
  python -m maskmim.train --config mixed_ae:small --workdir runs/mixed_ae_small

After the colon: variant=B/16 | L/16 | H/14; epochs=N; shards=DIR (docs/data.md); small (minutes on
a CPU) and tiny (seconds), both on the embedded photographs.

Four consecutive pictures of the batch are mixed: each place of the grid shows the patch of one of
them, 49 of each at 224 px. The encoder sees the mixture as one sequence, in which a token attends
to the quarter of the tokens that are most like it; the decoder, MAE's, gets the tokens of each
picture apart and predicts its 147 hidden patches. Beside the pixels, tokens learn to find those of
the same picture (maskmim/objectives/homologous.py). Crops, target and optimiser are MAE's.

The batch of each device, and of each micro-batch on it, must be a multiple of 4: groups never
cross devices, so that losses do not depend on the mesh. They do depend on train.micro_batches.

The authors released no code; the paper's text beyond its introduction was not at hand. Ours, as no
source that we could read gives them: the recipe (MAE's, ViT-B/16 for 800 epochs at batch size 4096,
counted in pictures); the weight 0.1 and the temperature 0.25 of the recognition loss, from memory;
that source embeddings are added where positions are; that the class token is among the keys that
attention chooses; full attention and no source embedding for whole pictures in evaluation; sizes
and rates of small and tiny.

Published results to expect (abstract; not yet reproduced by us), with ViT-B against MAE: +0.3
ImageNet-1k top-1 after fine-tuning, +1.7 mIoU on ADE20K, +0.9 AP on COCO.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.defaults import norm_pix_objective
from maskmim.masks import mixtures
from maskmim.models.layers.compute import compute
from maskmim.models.mixed_ae import vit_mixed_ae
from maskmim.objectives import same_source

SYSTEMS = (20,)

PICTURES = 4  # of a mixture


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, variant="B/16", epochs=800.0, shards="", small=False, tiny=False)
    config = base()
    config.mask = brick(mixtures.partition, sources=PICTURES)
    config.objectives = {
        "pixels": norm_pix_objective(),
        "sources": brick(same_source, temperature=0.25, scale=0.1),
    }
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    config.model = brick(
        vit_mixed_ae,
        sources=PICTURES,
        **recipes.vit_size(variant),
        decoder_depth=8,
        decoder_width=512,
        decoder_heads=16,
        compute=brick(compute, dtype="bfloat16"),
    )
    recipes.mae_training(config, epochs)


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    recipes.small_model(config, brick(vit_mixed_ae, sources=PICTURES, **recipes.SMALL_VIT))


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model; a batch is a group on each of eight devices."""
    recipes.tiny_model(config, brick(vit_mixed_ae, sources=PICTURES, **recipes.TINY_VIT))
    config.train.batch_size = 8 * PICTURES
