"""FSFM: A Generalizable Face Security Foundation Model (arXiv 2412.12032), VGGFace2.

  python -m maskmim.train --config fsfm:path=/data/faces --workdir runs/fsfm
  python -m maskmim.train --config fsfm:small --workdir runs/fsfm_small

After the colon: variant=B/16 (and any of maskmim.models.vit.variant; the official small one is
12x384x12/16); epochs=N; path=FOLDER with the folders images and parsing_maps, in which files of the
same name belong together (`faces` where none is given); small (minutes on a CPU) and tiny
(seconds), both on the embedded photographs.

A map of face parsing makes eight regions of patches. One of six (eyebrows, eyes, nose, mouth,
boundary of the face, hair) is hidden whole and the same share of each other, 147 of 196 in all. The
loss is MAE's on all hidden patches, 0.007 of the same on those of the covered region, and a term
that knows a face by its visible patches: a second decoder of two blocks fills the grid and averages
it, a projector and a predictor follow, and the result must point where an average of encoder,
second decoder and projector points that sees the face whole. The recipe is that of the official
README and main_pretrain.py: AdamW (0.9, 0.95), weight decay 0.05 on all but biases and norms,
1.5e-4 per 256 faces at batch size 4096, gradients clipped at norm 1, 400 epochs, of which 40 are
warm-up, cosine to 0, pixels normalised per patch, means and deviations of VGGFace2, neither crops
nor flips.

The official term, of weight 0.1, is half of the negative cosine; ours is 2 - 2 cos with the weight
0.025, which has the same gradient. The official run updates its average after each of 4 parts of a
batch, at a momentum that rises from 0.996 to 1 along a cosine; here one update in a step keeps what
those four keep at the start, 0.996^4, and rises along the same curve.

Differences: the covered region is drawn for each face, officially one for the 256 of a part; shares
of regions are rounded otherwise (maskmim/masks/regions.py); the mean over covered patches is that
of the batch, officially one of means over parts; bfloat16 in place of float16; an epoch is every
face exactly once. Maps are PNG of one channel with FACER's eleven classes, officially .npy; how
faces are found, cropped (DLIB, 30 % wider) and parsed is not included. Files are 224 x 224, as the
official script makes them; larger ones are resized with an antialiased filter.

No faces can be shipped. small and tiny see embedded photographs with four random shapes as parts
(maskmim/data/swapped_parts.py), which have no meaning, and are evaluated by finding photographs one
of whose parts is another photograph's, in place of forged faces. Their sizes, rates and momenta are
ours.

Published results to expect (not yet reproduced by us): deepfake detection across data sets, mean
AUC 87.90 after fine-tuning (MAE 80.88), as the catalogue of this project has it.
"""

from ml_collections import ConfigDict

from maskmim.config import add, base, brick, parse_argument, recipes
from maskmim.config.defaults import field, norm_pix_objective
from maskmim.data import decode, joint_crop, label_maps, stream_folders
from maskmim.data.decode_each import each
from maskmim.data.swapped_parts import PLACES, swapped_parts
from maskmim.losses import squared_error
from maskmim.masks import region_maps, regions
from maskmim.models.fsfm import vit_fsfm
from maskmim.models.layers.compute import compute
from maskmim.models.projectors import mlp
from maskmim.objectives import match_covered, match_projection, represented
from maskmim.targets.pixels import normalised_patches
from maskmim.teachers import average, momentum, projections
from maskmim.teachers.region_maps import members_of_map

SYSTEMS = (127,)

FOLDERS = {"image": "images", "parts": "parsing_maps"}
MEAN = (0.5482207536697388, 0.42340534925460815, 0.3654651641845703)
STD = (0.2789176106452942, 0.2438540756702423, 0.23493893444538116)
PARTS = tuple(range(1, len(PLACES) + 1))


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg, variant="B/16", epochs=400.0, path="faces", small=False, tiny=False
    )
    config = base()
    config.objectives = {
        "pixels": norm_pix_objective(),
        "covered": brick(
            match_covered,
            head="pixels",
            target=brick(normalised_patches),
            loss=brick(squared_error),
            scale=0.007,
        ),
        "identity": brick(match_projection, source=brick(represented), scale=0.025),
    }
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        faces(config, choice["path"])
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the network and the recipe on VGGFace2."""
    config.model = brick(
        vit_fsfm,
        **recipes.vit_size(variant),
        decoder_depth=8,
        decoder_width=512,
        decoder_heads=16,
        representer_depth=2,
        representer_heads=16,
        compute=brick(compute, dtype="bfloat16"),
    )
    config.calls = heads(hidden=4096, values=256, dtype="bfloat16")
    teach(config, start=0.996**4)
    recipes.mae_training(config, epochs, clip_norm=1.0)


def faces(config: ConfigDict, path: str) -> None:
    """Set faces and their parsing maps, read from folders, and the regions of a face."""
    config.input.mean, config.input.std = MEAN, STD
    config.input.fields = {"parts": field(shape=(224, 224), dtype="uint8")}
    maps = brick(label_maps.label_map, classes=region_maps.FACE_CLASSES)
    decoders = {"image": brick(decode.picture), "parts": maps}
    config.data.train = brick(stream_folders.unlabelled, path=path, streams=FOLDERS)
    config.data.workers = 16
    config.evals.train = config.evals.test = None
    read(config, decoders)
    members = brick(region_maps.face_members)
    add(config.teachers, parts=brick(members_of_map, members=members))
    config.mask = brick(
        regions.covered_overlapping, ratio=0.75, candidates=region_maps.FACE_CANDIDATES
    )


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs."""
    embedded(config, side=64, train="train+val", counts=(2560, 512))
    config.model = brick(vit_fsfm, **recipes.SMALL_VIT, representer_depth=1, representer_heads=4)
    config.calls = heads(hidden=256, values=64)
    teach(config, start=0.98)
    recipes.small_training(config)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    embedded(config, side=32, train="val", counts=(296, 64))
    config.model = brick(
        vit_fsfm,
        variant="nano",
        patch=(8, 8),
        decoder_depth=1,
        decoder_width=32,
        decoder_heads=2,
        representer_depth=1,
        representer_heads=2,
    )
    config.calls = heads(hidden=32, values=16)
    teach(config, start=0.9)
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)


def embedded(config: ConfigDict, *, side: int, train: str, counts: tuple[int, int]) -> None:
    """Set photographs with parts, for evaluation with one that may be swapped.

    counts: of examples for training, and of each of the two sets of evaluation.
    """
    config.input.size = (side, side)
    config.input.fields = {"parts": field(shape=(side, side), dtype="uint8")}
    many, few = counts

    def photographs(split: str, count: int, swapped: float) -> ConfigDict:
        return brick(swapped_parts, split=split, count=count, side=side, swapped=swapped)

    config.data.train = photographs(train, many, 0.0)
    config.evals.train, config.evals.test = (
        photographs(split, few, 0.5) for split in ("train", "test")
    )
    read(config, {"image": brick(decode.picture), "parts": brick(label_maps.label_map)})
    count = len(PARTS) + 1  # and what lies outside
    members = brick(region_maps.token_members, regions=count)
    add(config.teachers, parts=brick(members_of_map, members=members))
    config.mask = brick(regions.covered_overlapping, ratio=0.75, candidates=PARTS)


def read(config: ConfigDict, decoders: dict[str, ConfigDict]) -> None:
    """Set how pictures and maps are decoded and brought to their size, whole."""
    config.data.decode = config.evals.decode = brick(each, streams=decoders)
    config.data.augment = config.evals.transform = brick(
        joint_crop.joint_center_crop, crop_fraction=1.0, nearest=("parts",)
    )


def heads(hidden: int, values: int, dtype: str = "float32") -> dict[str, ConfigDict]:
    """Return projector and predictor: two layers with biases, a layer norm and ReLU between."""
    shape = {"hidden": hidden, "values": values, "norm": "layer", "norm_eps": 1e-5}
    projector = brick(mlp, **shape, biases=True, dtype=dtype)
    return {
        "projector": projector,
        "predictor": brick(mlp, **shape, inputs=values, biases=True, dtype=dtype),
    }


def teach(config: ConfigDict, start: float) -> None:
    """Set the average of encoder, second decoder and projector, which sees whole pictures."""
    teacher = brick(
        average.average,
        find=brick(projections.projected_representation),
        momentum=brick(momentum.cosine, start=start),
        parts=("encoder", "representer", "projector"),
    )
    add(config.teachers, average=teacher)
