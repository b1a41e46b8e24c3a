"""Classes of images by the classifier that a run learnt: probabilities, names, refusals."""

import jax
import numpy as np
import pytest
import scipy.special

from maskmim.inference import InferenceError, Model, load
from tests.inference.untrained import untrained
from tests.stored import store_run
from tests.tolerances import REORDERED

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), np.uint8)
DIR = "data.train.path"


def by_hand(model, pooling, squash):
    """Probabilities of pooled features by numpy, from the arrays of the classifier."""
    features = model.encode(PIXELS, pooling=pooling).astype(np.float64)
    params = {name: np.asarray(leaf) for name, leaf in flat(model.params["classify"])}
    if "norm/scale" in params:
        features -= features.mean(1, keepdims=True)
        features /= np.sqrt(features.var(1, keepdims=True) + 1e-6)
        features = features * params["norm/scale"] + params["norm/bias"]
    return squash(features @ params["kernel"] + params["bias"])


def flat(tree, prefix=""):
    for name, leaf in tree.items():
        inner = isinstance(leaf, dict)
        yield from flat(leaf, f"{name}/") if inner else ((f"{prefix}{name}", leaf),)


def softmax(logits):
    return scipy.special.softmax(logits, axis=1)


def stored(folder, *changes):
    """A run of finetune:tiny whose classifier is drawn, since it begins as zeros."""
    loaded = load(store_run(folder / "run", "finetune:tiny", (2,), *changes)).loaded
    params, draw = dict(loaded.variables.params), np.random.default_rng(1)
    params["classify"] = jax.tree.map(
        lambda leaf: draw.standard_normal(leaf.shape).astype(np.float32), params["classify"]
    )
    return Model(loaded._replace(variables=loaded.variables._replace(params=params)))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("runs"))


def test_probabilities_and_names(tuned):
    found = tuned.classify(PIXELS)
    assert found.probabilities.shape == (3, 81) and found.probabilities.dtype == np.float32
    expected = by_hand(tuned, "mean", softmax)
    assert np.ptp(expected, axis=1).min() > 1e-3
    np.testing.assert_allclose(found.probabilities, expected, atol=REORDERED, rtol=0)
    assert "Royal-Gala" in found.names and len(set(found.names)) == 81
    assert found.likeliest == tuple(found.names[row] for row in expected.argmax(1))


def test_columns_are_numbers_where_the_images_are_gone(tmp_path):
    gone = "data.train.brick=maskmim.data.folder.labelled", f"{DIR}={tmp_path / 'gone'}"
    found = stored(tmp_path, *gone).classify(PIXELS[:1])
    assert found.names == tuple(map(str, range(81)))


def test_another_size(tuned):
    found = tuned.classify(PIXELS, size=48)
    assert found.probabilities.shape == (3, 81)
    assert np.abs(found.probabilities - tuned.classify(PIXELS).probabilities).max() > 0


def test_runs_without_a_classifier_say_what_to_do(model, tuned):
    with pytest.raises(InferenceError, match=r"without labels .* finetune:begin=RUN"):
        model.classify(PIXELS)
    with pytest.raises(InferenceError, match=r"objective='edge': those .* are 'fine'"):
        tuned.classify(PIXELS, objective="edge")
    with pytest.raises(InferenceError, match="its encoder alone, without a classifier"):
        untrained("finetune").classify(PIXELS)


def test_labels_that_are_there_or_not(tmp_path):
    changes = (
        "objectives.fine.brick=maskmim.objectives.binary_labels",
        "objectives.fine.labels=('red','round')",
        "calls.classify.classes=2",
    )
    model = stored(tmp_path, *changes)
    found = model.classify(PIXELS)
    assert found.names == ("red", "round")
    expected = by_hand(model, "mean", scipy.special.expit)
    np.testing.assert_allclose(found.probabilities, expected, atol=REORDERED, rtol=0)
