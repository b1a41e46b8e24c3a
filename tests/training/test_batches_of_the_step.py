"""What a plan counts is the program that trains: the batch of the shapes is that of the data.

tests/test_catalogue.py compares the shapes of every tiny config.
"""

import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.planning.cost import batch_shapes
from maskmim.training.build import assemble, init_sharded, jitted_step
from tests.batches import placed, shapes_of

LABELS = ["condition.label=coarse", "input.labels.coarse=43"]


def test_labels_that_the_method_learns_from_are_part_of_both():
    config = load("maskgit:tiny", LABELS)
    parts = assemble(config, 296)
    batch = placed(config, parts)
    planned = batch_shapes(config, config.train.batch_size)
    assert set(batch["label"]) == {"coarse"} and batch["label"]["coarse"].dtype == np.int32
    assert shapes_of(batch) == shapes_of(planned)
    plain = load("maskgit:tiny")
    assert "label" not in placed(plain, assemble(plain, 296))


@pytest.mark.full
def test_the_step_that_is_planned_is_compiled_once_and_has_its_flops():
    config = load("maskgit:tiny", LABELS)
    parts = assemble(config, 296)
    step = jitted_step(config, parts)
    lowered = step.lower(parts.shapes, parts.frozen_shapes, batch_shapes(config, 16))
    state, frozen = init_sharded(parts, config.seed)
    batch = placed(config, parts)
    trained = step.lower(state, frozen, batch)
    assert lowered.cost_analysis()["flops"] == trained.cost_analysis()["flops"]
    unconditional = load("maskgit:tiny")
    other = assemble(unconditional, 296)
    plain = jitted_step(unconditional, other).lower(
        other.shapes, other.frozen_shapes, batch_shapes(unconditional, 16)
    )
    assert lowered.cost_analysis()["flops"] != plain.cost_analysis()["flops"]
