"""An objective of one of several views: its terms, and a view that does not exist."""

from functools import partial

import numpy as np
import pytest

from maskmim.objectives import label
from maskmim.objectives.classification import ObjectiveError
from maskmim.objectives.one_view import of_view
from tests.objectives.test_labels import TOKENS, view_of


def test_it_is_the_term_of_that_view():
    other = view_of()
    shown = other._replace(encoded=other.encoded._replace(tokens=2.0 * TOKENS))
    build = partial(label, labels="coarse", scale=0.5)
    pair, alone = of_view(objective=build, view=1), build()
    loss, weight, metrics, carry = pair.find((other, shown), ())
    wanted = alone.find(shown)
    np.testing.assert_array_equal(loss, wanted[0])
    np.testing.assert_array_equal(weight, wanted[1])
    assert metrics.keys() == wanted[2].keys() and carry == ()
    assert (pair.scale, pair.calls, pair.needs) == (0.5, alone.calls, alone.needs)
    assert not np.array_equal(loss, alone.find(other)[0])


def test_a_view_that_is_not_drawn_is_refused():
    with pytest.raises(ObjectiveError, match="view=2, but the sampler draws 2 views"):
        of_view(objective=partial(label, labels="coarse"), view=2).find((view_of(),) * 2, ())
