"""The other ways to impute, of scikit-learn, on the cells that ReMasker is trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.experimental import enable_iterative_imputer  # noqa: F401, makes the next line work
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from maskmim.data.tables import TableRecords
from maskmim.evals.imputation import rmse

# With their default settings, but for the rounds of the last, which end early where they converge.
OTHERS: dict[str, Callable[[], object]] = {
    "mean": SimpleImputer,
    "knn": KNNImputer,
    "iterative": lambda: IterativeImputer(max_iter=50, random_state=0),
}


def errors_of_others(records: TableRecords) -> dict[str, float]:
    """Return the RMSE of the removed cells by each way, in units of the records."""
    shown = np.stack([records[n].encoded[:, 0] for n in range(len(records))]).astype(np.float64)
    known = ~np.isnan(records.truth)
    return {
        name: rmse(make().fit_transform(shown)[known], records.truth[known])
        for name, make in OTHERS.items()
    }
