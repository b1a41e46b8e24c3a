"""LV-MAE: Learning Long Video Representations through Masked-Embedding Autoencoders (2504.03501).

  python -m maskmim.embed --source runs/videomae --data folder:/data/films --window 5 \
      --out films.npz
  python -m maskmim.train --config lv_mae:path=films.npz,width=768 --workdir runs/films
  python -m maskmim.train --config lv_mae:small --workdir runs/lv_mae_small

After the colon: path=FILE (windows of long videos, as `maskmim.embed --window` writes them);
test=FILE (others to evaluate on; none for the same); width=D (values of an embedding);
mask=redundant | random (segments most like the one before are hidden, or any); ratio=R; epochs=N;
loss=error | cosine; small (minutes on a CPU, on synthetic sequences); tiny (a few steps of a very
small model on such).

A video is a sequence of embeddings of its windows of 5 s, made once by a fixed encoder and scaled
to length 1. A transformer with a class token sees half of them, those that differ most from the one
before; a narrow decoder predicts the others by squared error. Spans of 10 to 1,280 s are drawn, so
that sequences have 2 to 256 embeddings; padding enters nothing. The recipe is that of the official
README: 32 blocks of the embeddings' width 1024 (LanguageBind's), 16 heads, a decoder of 8 blocks of
512, 151 epochs of 128 videos a step, 1e-3 per 256, 40 epochs of warm-up, cosine to 0, AdamW (0.9,
0.95), weight decay 0.05.

Differences: float32 sums and bfloat16 products instead of float16; videos are embedded by any
encoder of ours, or any other that writes such a file. Without a source, hence ours: the synthetic
sequences, sizes and rates of small and tiny.

Published results to expect: on LVU, COIN and Breakfast the best of their time, by probes alone
(abstract: 5.3 points more on LVU on average; not reproduced by us).
"""

from ml_collections import ConfigDict

from maskmim import modalities
from maskmim.config import add, base, brick, parse_argument, recipes
from maskmim.config.defaults import field
from maskmim.data import embeddings
from maskmim.evals.embedding_errors import embedding_errors
from maskmim.losses import cosine, squared_error
from maskmim.masks import padded, redundancy, uniform
from maskmim.models.layers.compute import compute
from maskmim.models.lv_mae import lv_mae
from maskmim.objectives import match
from maskmim.targets import pixels
from maskmim.teachers.given import given

SYSTEMS = (104,)

SCORES = {"redundant": redundancy.segments_scores, "random": uniform.random_scores}
LOSSES = {"error": squared_error, "cosine": cosine}
PLACES, WIDTH = 256, 1024


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        path="films.npz",
        test="",
        width=WIDTH,
        mask="redundant",
        ratio=0.5,
        epochs=151.0,
        loss="error",
        small=False,
        tiny=False,
    )
    config = base()
    scores = brick(recipes.pick_option("mask", choice["mask"], SCORES))
    config.mask = brick(padded.shares, ratio=choice["ratio"], scores=scores)
    names = ("padding", "embeddings")
    config.teachers = {"data": brick(given, names=names, hints=("padding", "features"))}
    config.objectives = {
        "embeddings": brick(
            match,
            head="embeddings",
            target=brick(pixels.patches),
            loss=brick(recipes.pick_option("loss", choice["loss"], LOSSES)),
        )
    }
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["epochs"])
        sequences_of(config, PLACES, choice["width"])
        config.data.train = brick(embeddings.windows, path=choice["path"])
        config.evals.train = None
        config.evals.test = brick(embeddings.windows, path=choice["test"] or choice["path"])
    return config


def sequences_of(config: ConfigDict, places: int, width: int) -> None:
    """Set what a sequence is, and its evaluation."""
    config.input.update(stream="embeddings", size=(places,), channels=width, dtype="float32")
    config.input.update(mean=(0.0,), std=(1.0,), kind=brick(modalities.unseen))
    config.input.fields = {"padding": field(shape=(places,), dtype="bool")}
    config.data.decode, config.evals.decode = brick(embeddings.as_stored), None
    config.data.augment = brick(embeddings.random_span)
    config.evals.transform = brick(embeddings.first_span)
    config.evals.pooling = "class"
    config.evals.batch_size = 64
    add(config.evals.measures, embedding_errors=brick(embedding_errors))
    config.evals.during = config.evals.at_end = ("embedding_errors",)


def published(config: ConfigDict, epochs: float) -> None:
    """Set the recipe of the official README."""
    config.model = brick(lv_mae, compute=brick(compute, dtype="bfloat16"))
    config.train.epochs = epochs
    config.train.batch_size = 128
    recipes.adamw_cosine(
        config, lr=1e-3, lr_per=256, b2=0.95, warmup_epochs=recipes.warmup(epochs, 40.0)
    )


def small(config: ConfigDict) -> None:
    """Set minutes on synthetic sequences of up to 32 embeddings; numbers are ours."""
    config.model = brick(
        lv_mae, depth=4, heads=4, decoder_depth=1, decoder_width=64, decoder_heads=4
    )
    recipes.small_training(config, epochs=60.0)
    sequences_of(config, 32, 64)
    config.data.train = config.evals.train = brick(embeddings.stories, count=1024, width=64)
    config.evals.test = brick(embeddings.stories, count=256, width=64, seed=1)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model on synthetic sequences of up to 16 embeddings."""
    config.model = brick(
        lv_mae, depth=2, heads=2, decoder_depth=1, decoder_width=16, decoder_heads=2
    )
    recipes.tiny_run(config, epochs=1.0)
    recipes.tiny_schedule(config)
    sequences_of(config, 16, 16)
    config.data.train = config.evals.train = brick(
        embeddings.stories, count=64, longest=16, width=16
    )
    config.evals.test = brick(embeddings.stories, count=32, longest=16, width=16, seed=1)
