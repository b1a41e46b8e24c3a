"""Learners on planted features: in context against brute force, heads on what a line can tell."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.evals.dense.in_context import in_context
from maskmim.evals.dense.problem import FrozenEncoder, of_classes
from maskmim.evals.dense.trained_head import trained_head
from maskmim.evals.features import Unsuitable
from maskmim.models.dense_heads import resized
from tests.evals.dense.made import CELL, CLASSES, DEPTH, mean_colours, problem_of

SEARCH = {"k": 3, "temperature": 0.1, "batch_size": 6, "query_chunk": 8}


def brute_force(problem, pictures, *, k, temperature, outputs):
    """Answers of every cell by loops over all remembered cells."""
    features, answers = [], []
    for images, maps in itertools.islice(problem.crops(6, 0), 4):
        (given,) = map(np.asarray, mean_colours(1.0, images))
        for b, i, j in np.ndindex(given.shape[:3]):
            cell = maps[b, CELL * i : CELL * (i + 1), CELL * j : CELL * (j + 1)]
            features.append(given[b, i, j])
            answers.append([np.mean(cell == c) for c in range(3)] if outputs > 1 else [cell.mean()])
    features, answers = np.array(features), np.array(answers)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    features = (features - mean) / deviation
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    (queries,) = map(np.asarray, mean_colours(1.0, pictures))
    found = np.zeros((*queries.shape[:3], outputs))
    for place in np.ndindex(queries.shape[:3]):
        query = (queries[place] - mean) / deviation
        cosines = features @ (query / np.linalg.norm(query))
        near = np.argsort(-cosines, kind="stable")[:k]
        weights = np.exp(cosines[near] / temperature)
        found[place] = weights @ answers[near] / weights.sum()
    return found


@pytest.mark.parametrize("task, name", [(CLASSES, "classes"), (DEPTH, "depth")])
def test_in_context_answers_as_brute_force_does(task, name):
    problem = problem_of(task, name=name)
    pictures, _ = next(problem.crops(2, 9))
    found = in_context(problem, memory=10_000, **SEARCH)[""](pictures)
    assert found.shape == (2, 32, 24, task.outputs)
    expected = brute_force(problem, pictures, k=3, temperature=0.1, outputs=task.outputs)
    wanted = np.asarray(resized(jnp.asarray(expected, jnp.float32), (32, 24)))
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_memory_is_a_part_of_all_crops():
    problem = problem_of(CLASSES)
    with pytest.raises(Unsuitable, match="only 24 labelled patches can be remembered, fewer than"):
        in_context(problem, memory=24, **{**SEARCH, "k": 25})


def test_patches_without_a_class_are_not_remembered():
    problem = problem_of(of_classes(3, 1))
    pictures, targets = next(problem.crops(4, 9))
    found = in_context(problem, memory=10_000, **SEARCH)[""](pictures)
    assert np.abs(found[..., 1]).max() < 1e-6
    known = targets != 1
    assert (found.argmax(-1) == targets)[known].mean() > 0.8


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_a_linear_head_learns_what_a_line_can_tell_on_any_scale(scale):
    encoder = FrozenEncoder(jnp.float32(scale), mean_colours)
    problem = problem_of(CLASSES, encoders={"": encoder, "twin": encoder})
    learnt = trained_head(problem, lr=0.1, steps=40, batch_size=8)
    pictures, targets = next(problem.crops(8, 9))
    found = learnt[""](pictures)
    assert (found.argmax(-1) == targets).mean() > 0.9
    np.testing.assert_array_equal(found, learnt["twin"](pictures))


def test_a_head_learns_amounts_in_their_units():
    problem = problem_of(DEPTH, name="depth")
    learnt = trained_head(problem, lr=0.1, steps=40, batch_size=8)
    pictures, targets = next(problem.crops(8, 9))
    error = np.abs(learnt[""](pictures)[..., 0] - targets).mean()
    assert error < 0.3 < np.abs(targets - targets.mean()).mean()


def test_what_a_head_cannot_learn_from_is_said():
    with pytest.raises(Unsuitable, match="there are 4 examples to learn from, fewer than"):
        trained_head(problem_of(CLASSES, count=4), batch_size=8)
    with pytest.raises(Unsuitable, match=r"the head on the trained encoder diverged: lower lr=1e"):
        trained_head(problem_of(CLASSES), lr=1e6, steps=30, weight_decay=1e5, batch_size=8)
