"""An objective of one of several views, for `methods.views`."""

from __future__ import annotations

from collections.abc import Callable

from maskmim.config.ranges import NonNegativeInt
from maskmim.errors import count_of
from maskmim.objectives.classification import ObjectiveError
from maskmim.types import Array, Mean, Objective, PairObjective, Tree, View


def of_view(*, objective: Callable[[], Objective], view: NonNegativeInt) -> PairObjective:
    """Take an objective on one view alone, whether or not its predictor runs.

    objective: brick, () -> Objective, that reads no output of the predictor and keeps nothing, such
               as `objectives.label`.
    view:      number of the view, from 0.
    Its `find` raises ObjectiveError for a view that the sampler does not draw.
    """
    term = objective()

    def find(views: tuple[View, ...], extra: Tree) -> tuple[Array, Array, dict[str, Mean], Tree]:
        if view >= len(views):
            raise ObjectiveError(
                f"of_view: view={view}, but the sampler draws {count_of(len(views), 'view')}, "
                "numbered from 0"
            )
        loss, weight, metrics, _ = term.find(views[view])
        return loss, weight, dict(metrics), ()

    says = f"{term.says}, of view {view}"
    return PairObjective(term.needs, term.scale, find, says, calls=term.calls)
