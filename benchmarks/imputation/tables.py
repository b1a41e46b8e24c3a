"""Real tables for the comparison of ways to impute: those that scikit-learn has, no download."""

from __future__ import annotations

from typing import Literal

import numpy as np
from sklearn import datasets

from maskmim.config.ranges import FractionBelowOne, Seed
from maskmim.data.missing_cells import Mechanism, removed_cells
from maskmim.data.tables import TableRecords

Name = Literal["wine", "breast_cancer"]
NAMES = ("wine", "breast_cancer")
COLUMNS = {"wine": 13, "breast_cancer": 30}


def table(
    *,
    name: Name,
    remove: FractionBelowOne = 0.3,
    mechanism: Mechanism = "mcar",
    seed: Seed = 0,
) -> TableRecords:
    """Return a complete table of scikit-learn of which a share of the cells is taken away.

    name: 'wine' (178 rows, 13 columns), 'breast_cancer' (569 rows, 30 columns). remove, mechanism,
    seed: as of `maskmim.data.tables.csv`.
    """
    loaded = getattr(datasets, f"load_{name}")()
    rng = np.random.default_rng(seed)
    return TableRecords(
        loaded.data,
        list(loaded.feature_names),
        removed=removed_cells(rng, loaded.data, share=remove, mechanism=mechanism),
        labels={"class": loaded.target},
        classes={"class": [str(name) for name in loaded.target_names]},
        title=name,
    )
