"""The loss on held-out images: against single images, and the same whatever the batches are."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from maskmim.config.parse import ConfigError
from maskmim.data.transforms import resize_center_crop
from maskmim.evals.agreement import agreement
from maskmim.evals.features import Unsuitable
from maskmim.evals.held_out import held_out
from maskmim.evals.label_accuracy import accuracy, label_accuracy
from maskmim.evals.trained import spread
from maskmim.masks.uniform import random
from maskmim.models.classifiers import linear
from maskmim.types import Randomness, Variables, random_key
from tests.evals.small import source_of, trained_on
from tests.evals.test_lidar import OneBad
from tests.running import as_tests, environment
from tests.tiny import pictures, tiny_method
from tests.tolerances import REORDERED

pytestmark = pytest.mark.full
COUNT = 11


def evaluated():
    """The pictures as evaluation transforms them, u8[COUNT, 32, 24, 3]."""
    return np.stack([resize_center_crop(None, each, size=(32, 24)) for each in pictures(COUNT)])


@pytest.fixture(scope="module")
def method():
    return tiny_method(mask=partial(random, ratio=0.5))


@pytest.fixture(scope="module")
def variables(method):
    return method.variables(jax.random.key(0))


def trained(method, variables, **changes):
    source = source_of(pictures(COUNT), size=8)
    given = {"test": source, "part": 4, **changes}
    return trained_on(method=method, variables=variables, **given)


def loss_of(found):
    return {measured.name: measured.value for measured in found}["held_out/loss"]


def expected(method, variables, indices):
    """The loss of single images with their own random numbers, summed by hand."""
    images, total, weight = evaluated(), 0.0, 0.0
    run = jax.jit(method.loss)
    for index in indices:
        drawn = Randomness(random_key(0), np.array([index], np.uint32))
        term = run(variables, {"image": images[[index]]}, drawn, jnp.float32(0.0)).terms["pixels"]
        total, weight = total + float(term.total), weight + float(term.weight)
    return total / weight


def test_the_loss_is_that_of_each_image_with_its_own_mask(method, variables):
    whole = loss_of(held_out(trained(method, variables)))
    assert whole == pytest.approx(expected(method, variables, range(COUNT)), rel=REORDERED)
    some = loss_of(held_out(trained(method, variables), images=5))
    assert some == pytest.approx(expected(method, variables, spread(COUNT, 5)), rel=REORDERED)
    assert abs(some - whole) > 100 * REORDERED


def test_step_seed_and_batches_change_nothing(method, variables):
    first = list(held_out(trained(method, variables)))
    assert list(held_out(trained(method, variables, step=900))) == first
    for size, part in ((3, 4), (8, 11), (8, 2)):
        other = trained(method, variables, test=source_of(pictures(COUNT), size=size), part=part)
        assert loss_of(held_out(other)) == pytest.approx(loss_of(first), rel=REORDERED)
    (loss,) = first
    assert loss.text == f"held-out loss {loss.value:.4g}"


def test_an_unreadable_image_does_not_count(method, variables):
    records = OneBad(source_of(pictures(COUNT)).records)
    source = source_of(pictures(COUNT), size=8, records=records)
    found = loss_of(held_out(trained(method, variables, test=source)))
    left = [index for index in range(COUNT) if index != 2]
    assert found == pytest.approx(expected(method, variables, left), rel=REORDERED)


def test_a_loss_without_weight_is_told(method, variables):
    def weightless(*arguments):
        losses = method.loss(*arguments)
        return losses._replace(
            terms={"pixels": jax.tree.map(jnp.zeros_like, losses.terms["pixels"])}
        )

    told = [each.warning for each in held_out(trained(method._replace(loss=weightless), variables))]
    assert told[0].startswith("the loss of pixels has no weight on these images")
    assert not any(each.warning for each in held_out(trained(method, variables)))


def test_missing_labels_are_told(method, variables):
    spec = trained(method, variables).spec._replace(labels={"sort": 3})
    with pytest.raises(Unsuitable, match="learns from the labels sort"):
        list(held_out(trained(method, variables, spec=spec)))


def test_agreement_of_a_teacher_that_averages(method, variables):
    rng = np.random.default_rng(0)
    average = jax.tree.map(
        lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32),
        {"encoder": variables.params["encoder"]},
    )
    mixed = Variables(variables.params, {"ema": average}, variables.frozen)

    def features(params):
        encoded = method.apply["encode"](mixed._replace(params=params), {"image": evaluated()})
        return np.asarray(encoded.tokens.mean(axis=1), np.float64)

    ours, other = features(mixed.params), features({**mixed.params, **average})
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(other, axis=1)
    expected = np.mean((ours * other).sum(axis=1) / lengths)
    given = trained(method, mixed, features=ours.astype(np.float32))
    (found,) = agreement(given)
    assert found.value == pytest.approx(expected, rel=REORDERED) and found.value < 0.99
    same = Variables(variables.params, {"ema": variables.params}, variables.frozen)
    assert not list(agreement(trained(method, same, features=ours.astype(np.float32))))


def test_the_accuracy_of_the_methods_own_classifier(method, variables):
    classify = linear(method.net.width, classes=2)
    params = {**variables.params, "classify": classify.init(jax.random.key(3))}

    def call(params, features):
        return classify.call(params["classify"], features)

    net = method.net._replace(calls={"classify": call})
    given = trained(method._replace(net=net), variables._replace(params=params))
    encoded = method.apply["encode"](variables, {"image": evaluated()})
    head = params["classify"]
    logits = np.asarray(encoded.tokens.mean(axis=1)) @ head["kernel"] + head["bias"]
    expected = np.mean(np.argmax(logits, -1) == np.arange(COUNT) % 2)
    found = {each.name: float(each.value) for each in label_accuracy(given, labels="kind")}
    error = float(np.sqrt(expected * (1 - expected) / COUNT))
    wanted = {"label_accuracy/kind": float(expected), "label_accuracy/kind/standard_error": error}
    assert found == pytest.approx(wanted)
    with pytest.raises(ConfigError, match="'clasify', but classify"):
        next(label_accuracy(given, labels="kind", call="clasify"))
    with pytest.raises(ConfigError, match="no labels 'sort', but kind"):
        next(label_accuracy(given, labels="sort"))


@pytest.mark.parametrize(("classes", "has_top5"), [(6, False), (9, False), (10, True)])
def test_top_5_is_of_10_classes_or_more(method, variables, classes, has_top5):
    def call(params, features):
        return jnp.zeros((len(features), classes)).at[:, 2].set(1.0)

    net = method.net._replace(calls={"classify": call})
    first, *others = label_accuracy(trained(method._replace(net=net), variables), labels="kind")
    assert first.value == 0 and ("top-5 100.0 %" in first.text) == has_top5
    values = {each.name: each.value for each in others}
    assert values.get("label_accuracy/kind/top5") == (1 if has_top5 else None)


@pytest.mark.parametrize("guesses", [1, 3, 5])
def test_top_k_is_that_of_scikit_learn(guesses):
    rng = np.random.default_rng(3)
    logits, classes = rng.normal(size=(200, 9)), rng.integers(0, 9, size=200)
    expected = top_k_accuracy_score(classes, logits, k=guesses, labels=np.arange(9))
    assert accuracy(logits, classes, guesses=guesses) == pytest.approx(expected)


def test_images_without_a_class_do_not_count():
    logits = np.eye(3)[[0, 1, 2, 0]]
    assert accuracy(logits, np.array([0, 1, 1, -1])) == pytest.approx(2 / 3)
    with pytest.raises(ConfigError, match="tells 3 classes apart, the test images have 5"):
        accuracy(logits, np.array([0, 4, 1, -1]))
    with pytest.raises(Unsuitable, match="no test image has a class"):
        accuracy(logits, np.full(4, -1))


ON_EIGHT = """
import jax
from maskmim.evals.held_out import held_out
from maskmim.training.sharding import make_mesh
from tests.evals.small import source_of, trained_on
from tests.tiny import pictures, tiny_method

method = tiny_method()
variables = method.variables(jax.random.key(0))
losses = []
for data, fsdp in ((1, 1), (4, 2)):
    sizes = {"data": data, "fsdp": fsdp, "sequence": 1, "tensor": 1}
    mesh = make_mesh(sizes, jax.devices()[: data * fsdp])
    source = source_of(pictures(27), size=16)
    given = trained_on(method=method, variables=variables, test=source, part=8, mesh=mesh)
    losses.append(next(held_out(given)).value)
assert abs(losses[0] - losses[1]) <= 1e-5 * losses[0], losses
print("same on eight devices")
"""


def test_eight_devices_give_the_loss_of_one():
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", ON_EIGHT],
        env=environment(**as_tests(flags)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
