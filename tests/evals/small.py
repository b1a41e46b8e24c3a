"""What measures of tests are called with: a small method, pictures in memory, given features."""

import jax
import numpy as np

from maskmim.data.arrays import ArrayRecords
from maskmim.data.decode import picture
from maskmim.data.transforms import random_resized_crop_flip, resize_center_crop
from maskmim.evals.trained import Source, Trained
from maskmim.training.sharding import make_mesh
from maskmim.types import Method, Variables
from tests.tiny import SPEC, pictures

NO_VARIABLES = Variables({}, {}, {})


def source_of(images, size=8, augment=random_resized_crop_flip, records=None) -> Source:
    """A source of pictures u8[n, H, W, 3] of two kinds, in turn."""
    kinds = np.arange(len(images), dtype=np.int32) % 2
    held = ArrayRecords(images, {"kind": kinds}, classes={"kind": ("a", "b")}, title="pictures")
    held = records or held
    transforms = resize_center_crop, augment
    return Source("evals.test", lambda: held, SPEC, picture, *transforms, size, {})


def trained_on(
    features=None, *, method: Method | None = None, variables=None, count=12, **changes
) -> Trained:
    """A Trained of step 3 on one device; features f32[n, D] are given as those of all images."""
    source = source_of(pictures(count))
    mesh = make_mesh({"data": 1, "fsdp": 1, "sequence": 1, "tensor": 1}, jax.devices()[:1])
    parts = {"test": source, "train": source, "training": source, "part": 8, "pooling": "mean"}
    rows = (lambda most: features[:most]) if features is not None else None
    given = {"spec": SPEC, "mesh": mesh, "step": 3, "features": rows, **parts, **changes}
    return Trained(method=method, variables=variables or NO_VARIABLES, **given)
