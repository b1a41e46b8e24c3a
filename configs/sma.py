"""SMA: Self-Guided Masked Autoencoders for Domain-Agnostic SSL (arXiv 2402.14789, ICLR 2024).

  python -m maskmim.train --config sma:path=HIGGS.csv,label=signal --workdir runs/higgs
  python -m maskmim.train --config sma:kind=pictures,path=/data/imagenet100 --workdir runs/pixels
  python -m maskmim.train --config sma:kind=text,small --workdir runs/bytes

After the colon: kind=table (published on HIGGS) | text (published on proteins and English) |
pictures (published on ImageNet-100); path=FILE of a table (see maskmim.data.tables.csv) or DIR of
pictures (the first level of subfolders names classes); label=COLUMN of classes, which is no cell;
test=FILE or DIR to evaluate on, none for the same; ratio=R; epochs=N; mask=attended | random (the
paper's comparison); small (minutes on a CPU, on embedded data of the kind); tiny (a few steps of a
very small model on it).

One method for any input: each cell of a table, byte of a text or pixel of a picture is a token with
a learnt position. Latents read all tokens in one block of cross-attention; of that attention, after
its softmax and over heads, the rows of a few latents drawn at random are added, and the tokens that
these attend to most are hidden from the latents in the same block. Learnt positions read the
latents and predict hidden tokens: amounts by squared error, indices by cross-entropy. The mask is
drawn of the weights of the same step without a gradient (teachers/query_attention.py). In a table
hidden tokens are random at first, and more and more the attended ones during a quarter of the
training.

Recipes are those of the official scripts: AdamW (0.9, 0.999), weight decay 0.01 but on biases and
norms, gradients clipped to norm 1, half a cosine to 0. Tables: 20 % hidden, 50 epochs, batches of
256, 1e-4 and 10,000 steps of warm-up. Text: 15 %, 1,024 bytes, batches of 256, 1e-4, 5,000 steps
of warm-up. Pictures: 50 %, 192 x 192 pixels, 200 epochs, batches of 128, 1e-4, 5,000 steps of
warm-up; crops as MAE's, without flips. Scripts have no warm-in of the mask for text and pictures.

Sizes of runs, the number of hidden tokens for each drawn latent and the start of the warm-in stand
in configs of the Hugging Face Hub that were not at hand. Model sizes are hence the defaults of
SMAConfig and 576 tokens a latent that of its masking, which gives 32 latents for a picture. Ours
are: 8 tokens a latent for tables and text (of 28 cells 576 would draw no latent), a warm-in that
starts at random masks, epochs of text (1,000 of 364 passages of Python's reference; officially
1,000,000 steps of Wikipedia and books), and all sizes and rates of small and tiny.

Differences: bfloat16 instead of float16; always the number of hidden tokens of the official branch
of fixed length; columns scaled to [0, 1], then by a mean of 0.5 and a deviation of 0.25 (ours);
missing cells are refused; a file of HIGGS's 11,000,000 rows is read into memory at once. Sentences
are one stream of bytes without padding.

Published results to expect (accuracy on HIGGS after fine-tuning on 1,000 | 10,000 | 100,000 rows,
from tables on third-party pages, not reproduced by us): 69.5 | 74.0 | 77.9 %. None known for bytes
of text and for kNN or linear probes.
"""

from pathlib import Path

from ml_collections import ConfigDict

from maskmim import modalities
from maskmim.config import base, brick, parse_argument, recipes
from maskmim.data import folder, passages, subset, tables
from maskmim.data.read_csv import number_columns
from maskmim.data.transforms import random_resized_crop_flip
from maskmim.losses import squared_error
from maskmim.masks import self_attention, uniform
from maskmim.models.layers.compute import compute
from maskmim.models.perceiver import perceiver
from maskmim.objectives import classify, match
from maskmim.targets import pixels, tokens
from maskmim.teachers.current import current
from maskmim.teachers.query_attention import query_attention

SYSTEMS = (17,)

COLUMNS, ROWS = 28, 10_500_000  # of HIGGS, to train on
IMAGES = 126_689  # of ImageNet-100
# Share of hidden tokens, hidden tokens for each drawn latent, and end of the warm-in of the mask.
MASKS = {"table": (0.2, 8.0, 0.25), "text": (0.15, 8.0, 0.0), "pictures": (0.5, 576.0, 0.0)}
EPOCHS = {"table": 50.0, "text": 1000.0, "pictures": 200.0}
# Sizes of networks of small and tiny (ours).
SMALL = {"latents": 16, "width": 64, "depth": 2, "heads": 4, "embedding": 32, "decoder_width": 32}
TINY = {"latents": 8, "width": 16, "depth": 2, "heads": 2, "embedding": 16, "decoder_width": 16}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        kind="table",
        path="",
        label="",
        test="",
        ratio=0.0,
        epochs=0.0,
        mask="attended",
        small=False,
        tiny=False,
    )
    kind = choice["kind"]
    ratio, per_query, until = recipes.pick_option("kind", kind, MASKS)
    config = base()
    embedded = choice["small"] or choice["tiny"]
    {"table": table_data, "text": text_data, "pictures": picture_data}[kind](config, choice)
    if choice["tiny"]:
        tiny(config, kind)
    elif choice["small"]:
        small(config, kind)
    else:
        published(config, kind, choice["epochs"] or EPOCHS[kind])
    ratio = choice["ratio"] or ratio
    # Embedded data have few tokens, hence few hidden ones for each latent.
    queries = {"per_query": min(per_query, 8.0) if embedded else per_query, "until": until}
    samplers = {
        "attended": brick(self_attention.attended, ratio=ratio, **queries),
        "random": brick(uniform.random, ratio=ratio),
    }
    config.mask = recipes.pick_option("mask", choice["mask"], samplers)
    if choice["mask"] == "attended":
        config.teachers = {"itself": brick(current, find=brick(query_attention))}
    amounts = {"target": brick(pixels.patches), "loss": brick(squared_error)}
    hidden = (
        brick(classify, head="tokens", target=brick(tokens.tokens))
        if kind == "text"
        else brick(match, head="values", **amounts)
    )
    config.objectives = {"hidden": hidden}
    return config


def table_data(config: ConfigDict, choice: dict) -> None:
    """Set rows of numbers, a token each: those of a file, or of a synthetic table."""
    path, label, columns = choice["path"], choice["label"], COLUMNS
    if choice["small"] or choice["tiny"]:
        columns = 16
        count = 2560 if choice["small"] else 80
        rows = brick(tables.factors, count=count, columns=columns, hidden=4, remove=0.0)
        config.data.train = brick(subset.all_but_every_nth, source=rows, every=5)
        config.evals.test = brick(subset.every_nth, source=rows, every=5)
    else:
        path = path or "HIGGS.csv"
        file = Path(path).expanduser()
        columns = len(number_columns(str(file), label)) if file.is_file() else COLUMNS
        config.data.train = brick(tables.csv, path=path, label=label)
        config.evals.test = brick(tables.csv, path=choice["test"] or path, label=label)
    config.evals.train = config.data.train
    config.input.update(stream="table", size=(columns,), channels=1, dtype="float32")
    config.input.update(mean=(0.5,), std=(0.25,), kind=brick(modalities.unseen))
    config.data.decode, config.evals.decode = brick(tables.row), None
    config.data.augment = config.evals.transform = brick(tables.complete)
    has_labels = bool(label or choice["small"] or choice["tiny"])
    config.evals.during = ("knn",) if has_labels else ()
    config.evals.at_end = ("knn", "linear_probe") if has_labels else ()


def text_data(config: ConfigDict, choice: dict) -> None:
    """Set windows of the reference of Python, a token for each byte."""
    length = 32 if choice["tiny"] else 128 if choice["small"] else 1024
    config.input.update(stream="text", size=(length,), channels=1, dtype="uint8", classes=256)
    config.input.update(mean=(0.0,), std=(1.0,), kind=brick(modalities.unseen))
    made = {"length": length + length // 8}
    config.data.train = config.evals.train = brick(passages.passages, split="train", **made)
    config.evals.test = brick(passages.passages, split="test", **made)
    config.data.decode, config.evals.decode = brick(passages.as_indices), None
    config.data.augment = brick(passages.random_window)
    config.evals.transform = brick(passages.first_window)
    config.evals.during = config.evals.at_end = ()


def picture_data(config: ConfigDict, choice: dict) -> None:
    """Set pictures, a token for each pixel: those of a folder, or the embedded photographs."""
    config.data.augment = brick(random_resized_crop_flip, flip=0.0)
    if choice["tiny"]:
        recipes.tiny_images(config)
    elif choice["small"]:
        config.input.size = (64, 64)
    else:
        config.input.size = (192, 192)
        path = choice["path"] or "imagenet100/train"
        config.data.train = config.evals.train = brick(folder.labelled, path=path)
        config.evals.test = brick(folder.labelled, path=choice["test"] or path)
        config.data.workers = 16


def published(config: ConfigDict, kind: str, epochs: float) -> None:
    """Set the network and the recipe of the official script of a kind."""
    patch = (1, 1) if kind == "pictures" else (1,)
    config.model = brick(perceiver, patch=patch, compute=brick(compute, dtype="bfloat16"))
    config.train.epochs = epochs
    config.train.batch_size = 128 if kind == "pictures" else 256
    rows = {"table": ROWS, "text": 364, "pictures": IMAGES}[kind]
    steps = 10_000 if kind == "table" else 5_000
    training(config, 1e-4, recipes.warmup(epochs, steps * config.train.batch_size / rows))


def training(config: ConfigDict, lr: float, warmup_epochs: float) -> None:
    """Set `optim` and `schedule` as all official scripts do."""
    recipes.adamw_cosine(
        config,
        lr=lr,
        weight_decay=0.01,
        no_decay=(r"(^|/)(bias|scale)$",),
        clip_norm=1.0,
        warmup_epochs=warmup_epochs,
    )


def small(config: ConfigDict, kind: str) -> None:
    """Set minutes of a small model; pictures have tokens of 4 x 4 pixels. All is ours."""
    patch = (4, 4) if kind == "pictures" else (1,)
    config.model = brick(perceiver, patch=patch, **SMALL)
    config.train.epochs = {"table": 100.0, "text": 30.0, "pictures": 20.0}[kind]
    config.train.batch_size = 64
    training(config, 2e-3, 1.0)


def tiny(config: ConfigDict, kind: str) -> None:
    """Set a few steps of a very small model; pictures have tokens of 4 x 4 pixels."""
    patch = (4, 4) if kind == "pictures" else (1,)
    config.model = brick(perceiver, patch=patch, **TINY)
    at_end = ("reconstruction",) if kind == "pictures" else config.evals.at_end
    recipes.tiny_run(config, epochs=1.0 if kind == "table" else 0.25, at_end=at_end)
    recipes.tiny_schedule(config)
