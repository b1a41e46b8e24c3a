"""ReMasker: Imputing Tabular Data with Masked Autoencoding (arXiv 2309.13793).

  python -m maskmim.train --config remasker:path=table.csv --workdir runs/table
  python -m maskmim.train --config remasker:path=table.csv,label=kind,remove=0.3 --workdir runs/kind
  python -m maskmim.train --config remasker:small --workdir runs/remasker_small

After the colon: path=FILE (numbers with a line of column names, see maskmim.data.tables.csv; empty
cells are missing); label=COLUMN (classes, which are no cells); remove=R (share of the other cells
that are taken away, to measure how well they are predicted); mechanism=mcar | mar | mnar (which
ones, see maskmim/data/missing_cells.py); size=california (of the network, any of SIZES); ratio=R of
hidden cells; epochs=N; small (a minute on a CPU, on a synthetic table); tiny (a few steps of a very
small model on one).

A masked autoencoder with one token for each column. Of the cells of a row that are observed, half
of the columns stay visible; the others are re-masked and predicted, and so are the visible ones,
each by mean squared error with weight 1. Cells that are missing enter nothing and count in no loss.
In the end each missing cell is predicted from all observed ones of its row; the network is trained
on the table that it completes, as `evals.test` is `data.train`. docs/data.md shows how the
completed table is written.

Columns are scaled to [0, 1] by their least and largest observed value. The recipe is that of
ReMasker.fit: 600 epochs, batches of 64, AdamW (0.9, 0.95) with 1e-3 per 64 rows, 40 epochs of
warm-up, cosine to 1e-5, weight decay 0.01 on all parameters (torch's default: the official code
does not pass its own 0.05 on), norms with 1e-8; sizes as configs.py has them for its tables, by
default those of remasker_impute.py.

Differences: float32 instead of float16; `round(ratio * columns)` cells are hidden, officially the
columns less `int(columns * (1 - ratio))`; a row with fewer observed cells than are to be shown is
shown those alone, where officially its missing cells enter as zeros, and count as such in the loss;
batches span epochs, where officially the last of an epoch is smaller. Without a source, hence ours:
the synthetic tables, sizes and rates of small and tiny.

Published results to expect: on par with, or better than, 13 other ways on 12 tables of UCI
(abstract; not reproduced by us). What we measured: docs/benchmarks.md.
"""

from pathlib import Path

from ml_collections import ConfigDict

from maskmim import modalities
from maskmim.config import add, base, brick, parse_argument, recipes
from maskmim.config.defaults import field
from maskmim.data import tables
from maskmim.data.read_csv import number_columns
from maskmim.evals.imputation import imputation
from maskmim.losses import squared_error
from maskmim.masks import missing
from maskmim.models.remasker import remasker
from maskmim.objectives import match, match_visible_head
from maskmim.targets import pixels
from maskmim.teachers.given import given

SYSTEMS = (47,)

COLUMNS = 8  # of California housing
# Width, and blocks of encoder and decoder, of the tables of configs.py; four heads.
SIZES = {
    "bike": (32, 8, 4),
    "california": (32, 6, 4),
    "climate": (32, 4, 2),
    "compression": (32, 6, 4),
    "credit": (32, 6, 4),
    "diabetes": (32, 4, 2),
    "iris": (32, 4, 2),
    "letter": (64, 8, 6),
    "obesity": (64, 8, 6),
    "raisin": (64, 8, 4),
    "spam": (64, 8, 6),
    "wine": (64, 8, 6),
    "yacht": (32, 4, 2),
}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        path="",
        label="",
        remove=0.0,
        mechanism="mcar",
        size="california",
        ratio=0.5,
        epochs=600.0,
        small=False,
        tiny=False,
    )
    width, depth, decoder_depth = recipes.pick_option("size", choice["size"], SIZES)
    config = base()
    config.mask = brick(missing.observed_first, ratio=choice["ratio"])
    config.teachers = {"data": brick(given, names=("missing",))}
    pair = {"target": brick(pixels.patches), "loss": brick(squared_error)}
    config.objectives = {
        "hidden": brick(match, head="cells", **pair),
        "shown": brick(match_visible_head, head="shown", **pair),
    }
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        config.model = brick(
            remasker, variant=f"{depth}x{width}x4", decoder=f"{decoder_depth}x{width}x4"
        )
        published(config, choice["epochs"])
        rows_of(config, table_of(config, choice))
    return config


def table_of(config: ConfigDict, choice: dict) -> int:
    """Set the table of `data` and `evals`; return its number of columns."""
    path, label = choice["path"], choice["label"]
    config.data.train = brick(
        tables.csv,
        path=path or "california.csv",
        label=label,
        remove=choice["remove"],
        mechanism=choice["mechanism"],
    )
    file = Path(path).expanduser()
    return len(number_columns(str(file), label)) if file.is_file() else COLUMNS


def rows_of(config: ConfigDict, columns: int) -> None:
    """Set what a row of so many columns is, and its evaluation on the table of `data`."""
    config.input.update(stream="table", size=(columns,), channels=1, dtype="float32")
    config.input.update(mean=(0.0,), std=(1.0,), kind=brick(modalities.unseen))
    config.input.fields = {"missing": field(shape=(columns,), dtype="bool")}
    config.data.decode, config.evals.decode = brick(tables.row), None
    config.data.augment = config.evals.transform = brick(tables.filled)
    config.evals.train = config.evals.test = config.data.train
    config.evals.pooling = "class"
    add(config.evals.measures, imputation=brick(imputation))
    config.evals.during = config.evals.at_end = ("imputation",)


def published(config: ConfigDict, epochs: float) -> None:
    """Set the recipe of the official code."""
    config.train.epochs = epochs
    config.train.batch_size = 64
    recipes.adamw_cosine(
        config,
        lr=1e-3,
        lr_per=64,
        b2=0.95,
        weight_decay=0.01,
        no_decay=(),
        warmup_epochs=recipes.warmup(epochs, 40.0),
        final=0.01,
    )


def small(config: ConfigDict) -> None:
    """Set a minute on a synthetic table of 12 columns; numbers are ours."""
    config.data.train = brick(tables.factors, count=512, columns=12, remove=0.3)
    config.model = brick(remasker, variant="3x32x4", decoder="2x32x4")
    published(config, 100.0)
    rows_of(config, 12)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model on a synthetic table of 6 columns."""
    config.data.train = brick(tables.factors, count=64, columns=6, remove=0.3)
    config.model = brick(remasker, variant="2x16x2", decoder="1x16x2")
    recipes.tiny_run(config, epochs=1.0, at_end=("imputation",))
    recipes.tiny_schedule(config)
    rows_of(config, 6)
