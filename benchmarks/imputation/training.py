"""Training of ReMasker in the comparison of ways to impute: the published recipe on another table.

  python -m maskmim.train --config benchmarks/imputation/training.py:table=wine,mechanism=mar

After the colon: table=NAME of benchmarks/imputation/tables.py; mechanism=mcar | mar | mnar;
remove=R; seed=N, of the removed cells and of the run; epochs=N; alone (no loss on re-masked cells).
"""

from ml_collections import ConfigDict

from benchmarks.imputation.tables import COLUMNS, table
from maskmim.config import brick, parse_argument, recipes
from maskmim.config.load import load


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg, table="wine", mechanism="mcar", remove=0.3, seed=0, epochs=600.0, alone=False
    )
    columns = recipes.pick_option("table", choice["table"], COLUMNS)
    config = load(f"remasker:epochs={choice['epochs']}")
    config.data.train = brick(
        table,
        name=choice["table"],
        remove=choice["remove"],
        mechanism=choice["mechanism"],
        seed=choice["seed"],
    )
    config.evals.train = config.evals.test = config.data.train
    config.input.size = config.input.fields.missing.shape = (columns,)
    config.seed = choice["seed"]
    if choice["alone"]:
        config.objectives.hidden.scale = 0.0
    config.log.every_steps, config.evals.monitors = 100, ()
    config.checkpoint.every_epochs = choice["epochs"] / 2
    return config
