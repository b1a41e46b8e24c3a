"""What methods over crops share: whose weights encode, which pictures, and in which order."""

from types import SimpleNamespace

import numpy as np

from maskmim.methods.crops import (
    as_pictures,
    by_example,
    encode_student,
    encode_teacher,
    whole_pictures,
)
from maskmim.types import Spec, Variables

SPEC = Spec((4, 4), 3, (0.0,) * 3, (1.0,) * 3)


def test_the_teacher_encodes_with_averages_where_there_are_some():
    net = SimpleNamespace(
        inputs=lambda batch: batch["image"],
        encode=lambda params, inputs, mask, *, capture: (params, inputs, mask, capture),
    )
    variables = Variables({"encoder": 1, "prototypes": 2}, {"teacher": {"encoder": 3}}, {})
    found = encode_student(net, variables, {"image": 4})
    assert found == ({"encoder": 1, "prototypes": 2}, 4, None, ())
    found = encode_teacher(net, variables, {"image": 4}, capture=("layers",))
    assert found == ({"encoder": 3, "prototypes": 2}, 4, None, ("layers",))


def test_pictures_are_those_of_the_evaluation_or_one_crop_each():
    crops = np.arange(2 * 3).reshape(2, 3, 1, 1, 1) * np.ones((1, 1, 4, 4, 3))
    np.testing.assert_array_equal(whole_pictures(SPEC, {"global": crops}, 2)["image"], crops[:, 2])
    one = whole_pictures(SPEC, {"global": crops, "image": crops[:, 1]}, 2)
    np.testing.assert_array_equal(one["image"], crops[:, 1])
    pictures = as_pictures(SPEC, crops)["image"]
    np.testing.assert_array_equal(pictures[:, 0, 0, 0], np.arange(6))
    np.testing.assert_array_equal(by_example(pictures, 3), crops)
