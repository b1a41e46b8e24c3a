from __future__ import annotations

import functools
import json

import jax
import numpy as np

from maskmim.evals.knn import knn
from maskmim.evals.linear_probe import linear_probe
from maskmim.evals.report import as_json, probe_table
from maskmim.evals.suite import brick_protocol, run_probes
from maskmim.modalities import baselines
from tests.evals.test_features import batches_of

CLASSES = {"hue": ("red", "green", "blue")}
QUICK = functools.partial(linear_probe, base_lrs=(30.0, 100.0), epochs=12, warmup_epochs=2)


def coloured(count: int, seed: int) -> tuple[np.ndarray, dict]:
    """Noisy pictures whose class is their strongest channel."""
    rng = np.random.default_rng(seed)
    hue = rng.integers(0, 3, count).astype(np.int32)
    images = rng.integers(0, 200, (count, 16, 16, 3), dtype=np.uint8)
    images[np.arange(count), :, :, hue] += 55
    return images, {"hue": hue}


def counted(images, labels, size=32):
    calls = []

    def batches():
        calls.append(1)
        yield from batches_of(images, labels, size)

    return batches, calls


def raw_pixels(arrays, size=(16, 16)):
    return baselines.raw_pixels(arrays["image"], size=size)


def blind(arrays):
    return jax.random.normal(jax.random.key(0), (len(arrays["image"]), 48))


def test_every_encoder_meets_every_evaluator_and_images_are_read_once():
    train, train_calls = counted(*coloured(120, 0))
    test, test_calls = counted(*coloured(90, 1))
    encoders = {"raw pixels": functools.partial(raw_pixels, size=(4, 4)), "blind": blind}
    results = run_probes(
        encoders,
        train,
        test,
        CLASSES,
        {"knn": functools.partial(knn, k=5), "linear_probe": QUICK},
    )
    assert train_calls == test_calls == [1]
    metrics = {name: found["metrics"] for name, found in results["encoders"].items()}
    assert list(metrics) == list(encoders)
    assert metrics["raw pixels"]["knn/hue/top1"] > 0.9 < metrics["raw pixels"]["linear/hue/top1"]
    assert metrics["blind"]["knn/hue/top1"] < 0.6 > metrics["blind"]["linear/hue/top1"]
    assert results["encoders"]["blind"]["dimensions"] == 48
    assert results["protocol"]["train_images"] == 120 and results["protocol"]["test_images"] == 90
    assert results["skipped"] == {} and set(results["seconds"]) == {
        "features",
        "knn",
        "linear_probe",
    }
    assert "raw pixels" in probe_table(json.loads(as_json(results)))


def test_images_without_labels_are_not_read_and_the_reason_is_given():
    train, calls = counted(coloured(40, 0)[0], {})
    results = run_probes({"raw": raw_pixels}, train, train, {}, {"knn": knn, "linear_probe": QUICK})
    assert calls == [] and set(results["skipped"]) == {"knn", "linear_probe"}
    assert results["encoders"] == {"raw": {"dimensions": 0, "metrics": {}}}
    assert "no labels" in probe_table(results)


def test_an_evaluator_that_needs_no_labels_runs_without_them():
    def spread(features):
        yield "spread/value", float(features.train.features.std())

    train, calls = counted(coloured(40, 0)[0], {})
    results = run_probes({"raw": raw_pixels}, train, train, {}, {"knn": knn, "spread": spread})
    assert calls == [1, 1] and set(results["skipped"]) == {"knn"}
    assert results["encoders"]["raw"]["metrics"]["spread/value"] > 0


def test_too_few_images_for_one_evaluator_leave_the_others():
    train, _ = counted(*coloured(40, 0))
    evaluators = {"many": functools.partial(knn, k=41), "knn": functools.partial(knn, k=3)}
    results = run_probes({"raw": raw_pixels}, train, train, CLASSES, evaluators)
    assert "k = 41" in results["skipped"]["many"]
    assert results["encoders"]["raw"]["metrics"]["knn/hue/top1"] > 0.9


def test_labels_that_do_not_fit_the_classes_are_an_error():
    train, _ = counted(*coloured(40, 0))
    results = run_probes({"raw": raw_pixels}, train, train, {"hue": ("red", "green")}, {"knn": knn})
    assert "2 classes" in results["failed"]["knn"]


def test_an_evaluator_that_fails_leaves_the_others(capsys):
    def broken(features):
        yield "broken/hue/top1", 1.0
        raise ZeroDivisionError("in the middle")

    train, _ = counted(*coloured(40, 0))
    evaluators = {"broken": broken, "knn": functools.partial(knn, k=3)}
    results = run_probes({"raw": raw_pixels}, train, train, CLASSES, evaluators)
    assert results["failed"] == {"broken": "ZeroDivisionError: in the middle"}
    assert list(results["encoders"]["raw"]["metrics"]) == ["knn/hue/top1"]
    assert "Traceback" in capsys.readouterr().err


def test_the_protocol_names_all_hyperparameters():
    facts = brick_protocol(functools.partial(linear_probe, base_lrs=(1.0, 3.0)))
    assert facts["brick"] == "maskmim.evals.linear_probe.linear_probe"
    assert facts["keywords"]["base_lrs"] == [1.0, 3.0] and facts["keywords"]["epochs"] == 90
    assert json.loads(json.dumps(facts)) == facts
    assert brick_protocol(knn)["keywords"]["k"] == 20
