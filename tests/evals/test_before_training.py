"""What a training checks of its evaluations and data before the first step."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load, override
from maskmim.config.parse import ConfigError
from maskmim.data.arrays import ArrayRecords
from maskmim.data.decode import picture
from maskmim.data.one_example import check_example
from maskmim.data.records import BadImage, DataError, TooManyBadImages
from maskmim.data.transforms import resize_center_crop
from maskmim.evals import before_training
from maskmim.evals.before_training import (
    NO_LABELS,
    check_classes_of_run,
    check_evaluated_data,
    check_evaluators,
    check_learnt_classes,
    check_names,
    check_pooling,
    check_training,
    evaluations_of,
)
from maskmim.evals.features import FeatureError
from maskmim.modalities import Modality, ModalityError, unseen
from maskmim.training.build import assemble
from maskmim.types import Encoded
from tests.tiny import SPEC

KEYS = "evals.test", "evals.decode", "evals.transform"


@pytest.fixture(scope="module")
def config():
    return load("configs/mae.py:tiny")


@pytest.fixture(scope="module")
def parts(config):
    return assemble(config, 296)


def records(count=3, labels=True):
    images = np.zeros((count, 40, 30, 3), np.uint8)
    column = {"kind": np.zeros(count, np.int32)} if labels else {}
    classes = {"kind": ("a", "b")} if labels else {}
    return ArrayRecords(images, column, classes=classes, title="pictures")


def with_evals(parts, **changes):
    return parts._replace(evals=parts.evals._replace(**changes))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("evals.at_end=knn,lineer_probe", "evals.at_end: there is no evaluation 'lineer_probe'"),
        ("evals.during=knm", "evals.during: there is no evaluation 'knm'; known are few_shot, knn"),
        ("evals.during=reconstruction", "log.pictures_every_epochs"),
    ],
)
def test_unknown_evaluations_are_refused(config, change, words):
    check_names(config)
    with pytest.raises(ConfigError, match=words):
        check_names(override(config, [change]))


def test_probes_during_training_count_where_there_are_any(config, parts):
    flags = ["evals.at_end=reconstruction,linear_probe", "evals.during=knn", "evals.monitors="]
    at_end = override(config, flags)
    assert evaluations_of(at_end, parts) == ["linear_probe"]
    assert evaluations_of(override(at_end, ["evals.every_epochs=1"]), parts) == [
        "knn",
        "linear_probe",
    ]
    assert evaluations_of(override(at_end, ["evals.monitors=held_out,agreement,lidar"]), parts) == [
        "linear_probe",
        "held_out",
        "lidar",
    ]


def test_a_sound_training_passes(config, parts):
    assert check_training(config, parts, parts.data.train()) == []


def test_too_many_workers_are_told(config, parts):
    (line,) = check_training(override(config, ["data.workers=1024"]), parts, parts.data.train())
    assert line.startswith("note: data.workers=1024 processes on ")


def test_fewer_examples_than_a_batch_are_refused(config, parts):
    with pytest.raises(
        DataError, match=r"3 images are fewer than one batch.*train\.batch_size to 3"
    ):
        check_training(config, parts, records())


def test_data_without_labels_are_told(config, parts):
    unlabelled = with_evals(parts, train=lambda: records(labels=False), test=parts.evals.test)
    with pytest.raises(DataError, match="evals"):
        check_evaluators(config, unlabelled, ["knn"])
    unlabelled = with_evals(unlabelled, test=lambda: records(labels=False))
    sentence = f"knn, linear_probe will be skipped: {NO_LABELS}"
    assert check_evaluators(config, unlabelled, ["knn", "linear_probe"]) == [sentence]
    assert check_evaluators(config, with_evals(parts, test=None), ["knn", "linear_probe"]) == [
        sentence
    ]
    assert check_evaluators(config, with_evals(parts, test=None), []) == []


def of_classes(*names):
    images, column = np.zeros((2, 8, 8, 3), np.uint8), {"kind": np.zeros(2, np.int32)}
    return ArrayRecords(images, column, classes={"kind": names}, title="pictures")


def learning(parts, learnt, **evaluated):
    """A method that learns 'kind' on some data, beside others that are evaluated."""
    opened = {name: lambda made=made: made for name, made in evaluated.items()}
    made = with_evals(parts, **opened)
    data = parts.data._replace(train=learnt)
    return made._replace(spec=parts.spec._replace(labels={"kind": 3}), data=data)


@pytest.mark.parametrize("key", ["train", "test"])
def test_classes_are_those_that_are_learnt(parts, key):
    learnt, other = of_classes("a", "b", "c"), of_classes("b", "c")
    evaluated = {"train": learnt, "test": learnt}
    check_learnt_classes(learning(parts, lambda: learnt, **evaluated), learnt)
    wrong = learning(parts, lambda: learnt, **(evaluated | {key: other}))
    sentence = rf"data\.train and evals\.{key} have other.*\n.*only in training a\n.*evals\.{key}\."
    with pytest.raises(DataError, match=sentence):
        check_learnt_classes(wrong, learnt)
    with pytest.raises(DataError, match=sentence):
        check_classes_of_run(wrong)
    check_learnt_classes(wrong._replace(spec=parts.spec._replace(labels={})), learnt)


def test_a_training_compares_them_before_its_first_step(config, parts, monkeypatch):
    compared = []
    monkeypatch.setattr(
        before_training, "check_learnt_classes", lambda *given: compared.append(given)
    )
    records = parts.data.train()
    check_training(config, parts, records)
    assert compared == [(parts, records)]


def test_training_data_that_are_elsewhere_are_told(parts):
    def missing():
        raise DataError("there is no folder /data")

    here = of_classes("a", "b", "c")
    (line,) = check_classes_of_run(learning(parts, missing, train=here, test=here))
    assert "not compared" in line and "there is no folder /data" in line


@pytest.mark.parametrize("size", [0, -2])
def test_batch_sizes_of_evaluations_are_checked(config, parts, size):
    changed = override(config, [])
    changed.evals.batch_size = size
    with pytest.raises(ConfigError, match=rf"evals.batch_size={size} .* multiple of 1"):
        check_evaluators(changed, parts, ["knn"])


def test_evaluated_batches_spread_over_the_devices_of_the_data(config, parts):
    mesh = SimpleNamespace(shape={"data": 4, "fsdp": 2, "sequence": 1, "tensor": 1})
    with pytest.raises(ConfigError, match="over 8 devices: use a multiple of 8, for example 256"):
        check_evaluators(
            override(config, ["evals.batch_size=257"]), parts._replace(mesh=mesh), ["knn"]
        )


def test_a_pooling_without_its_token_is_refused(config, parts):
    changed = override(config, ["evals.pooling=class"])
    net = parts.method.apply["encode"]

    def encode(*given):
        encoded = net(*given)
        return encoded._replace(prefix=encoded.prefix[:, :0])

    method = parts.method._replace(apply={**parts.method.apply, "encode": encode})
    check_evaluators(changed, parts, ["knn"])
    with pytest.raises(FeatureError, match=r"evals\.pooling"):
        check_evaluators(changed, parts._replace(method=method), ["knn"])


def test_transforms_are_tried(parts):
    def crashing(rng, array, *, size):
        return array[:, :, 7]

    check_evaluated_data(parts)
    with pytest.raises(DataError, match=r"evals\.transform .*fails on the first example: IndexErr"):
        check_evaluated_data(with_evals(parts, transform=crashing))
    with pytest.raises(DataError, match=r"evals\.transform .*IndexError.*test_before_training.py"):
        check_evaluated_data(with_evals(parts, transform=crashing, test=None))


def other_shape(rng, array, *, size):
    return array[:5, :1]


def other_type(rng, array, *, size):
    return resize_center_crop(rng, array, size=size) / 255.0


def other_name(rng, array, *, size):
    return {"picture": resize_center_crop(rng, array, size=size)}


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (other_shape, r"other_shape\) gives 'image' of shape \(5, 1, 3\) .*\(32, 24, 3\)"),
        (other_type, "of type float64 where input.dtype is uint8"),
        (other_name, "gives picture and not 'image'"),
    ],
)
def test_arrays_of_another_kind_are_refused(transform, words):
    check_example(records(), picture, resize_center_crop, SPEC, KEYS)
    with pytest.raises(DataError, match=words):
        check_example(records(), picture, transform, SPEC, KEYS)


def test_data_of_which_nothing_can_be_read_are_refused():
    def unreadable(rng, encoded, *, channels):
        raise BadImage("torn")

    said = r"evals\.test: none of the first 3 records can be read.*torn.*evals\.decode"
    with pytest.raises(TooManyBadImages, match=said):
        check_example(records(), unreadable, resize_center_crop, SPEC, KEYS)
    with pytest.raises(TooManyBadImages, match="the first 64 records"):
        check_example(records(90), unreadable, resize_center_crop, SPEC, KEYS)


def test_some_unreadable_examples_are_left_to_the_training():
    tried = []

    def second(rng, encoded, *, channels):
        tried.append(encoded)
        if len(tried) < 2:
            raise BadImage("torn")
        return picture(rng, encoded, channels=channels)

    check_example(records(), second, resize_center_crop, SPEC, KEYS)
    assert len(tried) == 2
    with pytest.raises(DataError, match=r"evals\.test has no examples"):
        check_example(records(0), picture, resize_center_crop, SPEC, KEYS)


def test_pictures_are_tried_and_those_that_are_skipped_are_said(config, parts):
    broken = Modality(lambda arrays, hidden: arrays[..., :1])
    with pytest.raises(ModalityError, match=r"input.kind: the picture function returned uint8"):
        check_training(config, parts._replace(modalities={"image": broken}), records(16))
    remarks = check_training(config, parts._replace(modalities={"image": unseen()}), records(16))
    assert "pictures of 'image' are skipped: input.kind has no picture" in remarks


def test_the_pooling_is_tried_with_the_streams_of_the_evaluation(config, parts):
    seen = []

    def encode(variables, batch):
        seen.append({name: (array.shape, str(array.dtype)) for name, array in batch.items()})
        return Encoded(jnp.zeros((4, 1, 2)), jnp.zeros((4, 3, 2)))

    depth = SPEC._replace(channels=1, stream="depth", dtype="float32")
    both = SPEC._replace(streams={"depth": depth})
    with_streams = parts._replace(spec=both, method=parts.method._replace(apply={"encode": encode}))
    for names in ((), ("depth",)):
        chosen = override(config, ["evals.batch_size=4"])
        chosen.evals.streams = names
        check_pooling(chosen, with_streams)
    assert seen == [
        {"image": ((4, 32, 24, 3), "uint8"), "depth": ((4, 32, 24, 1), "float32")},
        {"depth": ((4, 32, 24, 1), "float32")},
    ]
