"""A pair of encoders, of pictures and of texts: CLIP's contrast (arXiv 2103.00020).

  python -m maskmim.train --config pair:small --workdir runs/pair
  python -m maskmim.train --config uta:small,run=runs/pair,call=picture --workdir runs/uta
  python -m maskmim.train --config pair --config.begin.file=clip-vit-base-patch16 --workdir runs/b

After the colon: variant=B/16 | B/32 | L/14; epochs=N; small (minutes on a CPU) and tiny (a few
steps of very small encoders), both on embedded data.

A picture and its text are found among those of the batch, both ways, by the cosine of what two
transformers make of them, over a learned temperature. The trained picture encoder knows where texts
lie, so that it stands in for CLIP where a method learns from a teacher that is aligned with texts:
UTA with call=picture, MaskAlign with run=RUN. The networks are CLIP's, and take its files of
transformers (--config.begin.file=DIR). Recipe of the paper's tables 18 and 20: batch size 32,768,
32 epochs of 400 million pairs, AdamW (0.9, 0.98, epsilon 1e-6), weight decay 0.2, 2,000 steps of
warm-up, 5e-4 (L: 4e-4) along a cosine, temperature from 0.07 and not below 0.01, crops of pictures
without flips. Nothing is hidden; another config.mask drops patches.

The pairs of CLIP are not public, and no pairs come with the package: pictures are synthetic scenes
(docs/data.md), collages of embedded photographs, whose captions are made of their maps, in fifty
words of one form. What is learnt from these does not carry over to pictures and texts of people.
For pairs of your own, name a source in data.train whose examples have the field 'caption', i32[77]
indices of CLIP's vocabulary.

Differences: see maskmim/models/clip_vision.py and clip_text.py; the class token has no position,
kernels start as elsewhere here, the temperature is held at its least in place of being set back;
positions of patches are not decayed, as CLIP does; crops of 90 to
100 % of the picture; bfloat16 in place of float16. Hence ours: all of the data, and all sizes and
rates of small and tiny.

Measured on small (one seed, 512 scenes of other photographs): the class of the nearest object by
its name 35.2 %, the commonest class 14.5 %; a scene finds its caption among all distinct ones in
10.4 %, chance 0.4 %.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.defaults import field
from maskmim.config.load import add
from maskmim.data import decode, joint_crop
from maskmim.data.captions import CAPTION_LENGTH, caption_ids, captioned_scenes, word_count
from maskmim.data.decode_each import each
from maskmim.data.scenes import EIGHT
from maskmim.evals.texts import retrieval, zero_shot
from maskmim.masks import roles
from maskmim.models.clip_text import clip_text, inverse_temperature
from maskmim.models.clip_vision import clip_vit
from maskmim.models.layers.compute import compute
from maskmim.models.projectors import mlp
from maskmim.objectives import match_texts
from maskmim.teachers.pretrained import CLIP_MEAN, CLIP_STD

TEXTS = {"L": "12x768x12"}  # others: 12x512x8
RATES = {"L": 4e-4}  # others: 5e-4
# CLIP's: indices of its texts, and examples of an epoch.
LENGTH, VOCABULARY, PAIRS = 77, 49_408, 400_000_000


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, variant="B/16", epochs=32.0, small=False, tiny=False)
    config = base()
    config.mask = brick(roles.everything)
    config.objectives = {"texts": brick(match_texts)}
    config.evals.pooling = "class"
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
    return config


def calls(
    config: ConfigDict, *, text: str, length: int, vocabulary: int, values: int, dtype: str
) -> None:
    """Set the functions beside the picture encoder, and the field of texts."""
    projection = {"layers": 1, "norm": "none", "biases": False}
    config.calls = {
        "picture": brick(mlp, values=values, dtype=dtype, **projection),
        "text": brick(
            clip_text,
            vocabulary=vocabulary,
            length=length,
            variant=text,
            values=values,
            compute=brick(compute, dtype=dtype),
        ),
        "temperature": brick(inverse_temperature),
    }
    config.input.fields = {"caption": field(shape=(length,), dtype="int32")}


def scene_data(config: ConfigDict, *, train: int, test: int, length: int, vocabulary: int) -> None:
    """Set scenes with captions, of other photographs for training and for evaluation."""
    options = {"size": config.input.size, "length": length, "vocabulary": vocabulary}
    config.data.train = brick(captioned_scenes, split="train", count=train, **options)
    config.evals.train = brick(captioned_scenes, split="train", count=test, seed=1, **options)
    config.evals.test = brick(captioned_scenes, split="test", count=test, **options)
    pictures = {"image": brick(decode.picture)}
    config.data.decode = config.evals.decode = brick(each, streams=pictures)
    keep = ("caption",)
    config.data.augment = brick(joint_crop.joint_crop, scale=(0.9, 1.0), flip=0.0, keep=keep)
    config.evals.transform = brick(joint_crop.joint_center_crop, crop_fraction=1.0, keep=keep)
    ids = brick(caption_ids, length=length, vocabulary=vocabulary)
    templates = tuple(f"{{}} in front of {name.lower()}" for name in EIGHT)
    add(
        config.evals.measures,
        zero_shot=brick(zero_shot, labels="object", templates=templates, ids=ids),
        retrieval=brick(retrieval),
    )
    config.evals.at_end = ("knn", "linear_probe", "zero_shot", "retrieval")


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set CLIP's networks and recipe; the pictures are scenes."""
    config.input.update(mean=CLIP_MEAN, std=CLIP_STD)
    size = recipes.vit_size(variant)
    config.model = brick(clip_vit, **size, compute=brick(compute, dtype="bfloat16"))
    text = TEXTS.get(size["variant"], "12x512x8")
    values = 768 if size["variant"] in TEXTS else 512
    texts = {"length": LENGTH, "vocabulary": VOCABULARY}
    calls(config, text=text, values=values, dtype="bfloat16", **texts)
    scene_data(config, train=PAIRS, test=4096, **texts)
    config.data.workers = 16
    config.train.epochs = epochs
    config.train.batch_size = 32_768
    recipes.adamw_cosine(
        config,
        lr=RATES.get(size["variant"], 5e-4),
        b2=0.98,
        weight_decay=0.2,
        eps=1e-6,
        warmup_epochs=recipes.warmup(epochs, 2000 * 32_768 / PAIRS),
    )


def small(config: ConfigDict) -> None:
    """Set minutes of small encoders on scenes of 64 x 64 pixels; sizes and rates are ours."""
    config.input.size = (64, 64)
    config.model = brick(clip_vit, variant="4x128x4", patch=recipes.SMALL_VIT["patch"])
    texts = {"length": CAPTION_LENGTH, "vocabulary": word_count()}
    calls(config, text="2x128x4", values=128, dtype="float32", **texts)
    scene_data(config, train=4096, test=1024, **texts)
    recipes.small_training(config, epochs=5.0)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of very small encoders."""
    config.input.size = (32, 32)
    config.model = brick(clip_vit, variant="nano", patch=(8, 8))
    texts = {"length": CAPTION_LENGTH, "vocabulary": 256}  # tests draw bytes as texts
    calls(config, text="1x32x2", values=16, dtype="float32", **texts)
    scene_data(config, train=64, test=64, **texts)
    recipes.tiny_run(config, epochs=1.0, at_end=("zero_shot", "retrieval"))
    recipes.tiny_schedule(config)
