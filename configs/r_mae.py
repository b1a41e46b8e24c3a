"""R-MAE: Regions Meet Masked Autoencoders (arXiv 2306.05411), ImageNet-1k.

  python -m maskmim.train --config r_mae:cache=/data/segments --workdir runs/r_mae
  python -m maskmim.train --config r_mae:small --workdir runs/r_mae_small

After the colon: variant=B/16 | L/16 | H/14; epochs=N; regions=N (of each picture, 8 as published);
cache=DIR (a folder for maps of segments, which every worker and every later run reads; without it
each worker segments a photograph again, about a second each at full size); shards=DIR
(docs/data.md); small (minutes on a CPU) and tiny (seconds), both on the embedded photographs.

A photograph is segmented by its colours alone (Felzenszwalb and Huttenlocher, scale and smallest
segment 1000) when it is read; one crop and one flip serve picture and segments, and 8 segments of
the crop are drawn. MAE hides 75 % of the patches, and of each region's map the same patches. The
visible patches of a region become one query, to a memory of 8 narrow blocks over the picture's
tokens; the loss is MAE's plus the cross-entropy of every hidden pixel of every region, 1 to 1. The
recipe is that of rmae_fh_800eps.yaml: AdamW (0.9, 0.95), weight decay 0.05 on all but biases and
norms, 1.5e-4 per 256 images at batch size 4096, 5 % of warm-up, cosine to 0, crops of 20 to 100 %
and flips.

Differences: base_rmae.yaml has num_region: 0, and no released config changes it, so that the
documented command trains MAE; 8 is the paper's. An epoch is every image exactly once. bfloat16 in
place of none or float16. Segments are made while data is read, not before. COCO, its several scales
of segments, panoptic and SAM regions, and regions drawn among those with a visible part
(random_fg) are not included.

Ours: sizes and rates of small and tiny, and the scale of their segments: of the published share of
a picture they would be smaller than a patch or two, and their hidden parts hardly predictable.

Published results to expect: none known. The abstract reports gains over MAE in detection and
segmentation at 1.3 % more FLOPs; the paper's numbers were not at hand, and its repository lists
none. By XLA's count a picture of this recipe takes 6 % more FLOPs than MAE's (62.2 and 58.6 GFLOP).
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.defaults import field, norm_pix_objective
from maskmim.data import region_crops, segments
from maskmim.masks import uniform
from maskmim.models.layers.compute import compute
from maskmim.models.r_mae import vit_r_mae
from maskmim.objectives import regions

SYSTEMS = (50,)

SCALE = 1000.0  # of the segments, and the pixels of the smallest; photographs of ImageNet
# Of photographs of 96 x 96 pixels: about 11 segments, each of several patches as at full size.
SMALL_SCALE = 200.0


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        variant="B/16",
        epochs=800.0,
        regions=8,
        cache="",
        shards="",
        small=False,
        tiny=False,
    )
    config = base()
    config.mask = brick(uniform.random, ratio=0.75)
    config.objectives = {"pixels": norm_pix_objective(), "regions": brick(regions)}
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    embedded = choice["tiny"] or choice["small"]
    segmented(config, SMALL_SCALE if embedded else SCALE, choice["regions"], choice["cache"])
    return config


def segmented(config: ConfigDict, scale: float, count: int, cache: str) -> None:
    """Set the regions beside each picture, for training and for evaluation."""
    config.input.fields = {"regions": field(shape=(count, *config.input.size), dtype="bool")}
    decode = brick(segments.segmented, scale=scale, min_size=int(scale), cache=cache)
    config.data.decode = config.evals.decode = decode
    config.data.augment = brick(region_crops.crop_regions)
    config.evals.transform = brick(region_crops.center_regions)


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    config.model = brick(
        vit_r_mae,
        **recipes.vit_size(variant),
        decoder_depth=8,
        decoder_width=512,
        decoder_heads=16,
        region_depth=1,
        memory_depth=8,
        region_width=128,
        region_heads=8,
        compute=brick(compute, dtype="bfloat16"),
    )
    recipes.mae_training(config, epochs)


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    sizes = {"memory_depth": 2, "region_width": 64, "region_heads": 4}
    recipes.small_model(config, brick(vit_r_mae, **recipes.SMALL_VIT, **sizes))


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    sizes = {"memory_depth": 1, "region_width": 32, "region_heads": 2}
    recipes.tiny_model(config, brick(vit_r_mae, **recipes.TINY_VIT, **sizes))
    config.evals.test = config.data.train  # few photographs: each one is segmented
