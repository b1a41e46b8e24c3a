"""Errors of an example say which record, stream and file they are about."""

from functools import partial

import numpy as np
import pytest
from PIL import Image

from maskmim.data.bad_files import BadFiles
from maskmim.data.decode import picture
from maskmim.data.decode_each import each
from maskmim.data.example_errors import naming
from maskmim.data.joint_crop import joint_center_crop, joint_crop
from maskmim.data.label_maps import label_map
from maskmim.data.one_example import check_example
from maskmim.data.pipeline import eval_batches, train_batches
from maskmim.data.records import BadImage, DataError, TooManyBadImages
from maskmim.data.stream_folders import unlabelled
from maskmim.types import Spec
from tests.data.test_batch_arrays import KEYS, records

MAP = Spec((6, 6), 1, (), (), stream="map", classes=9)
SPEC = Spec((8, 8), 3, (0.5,) * 3, (0.5,) * 3, streams={"map": MAP})
DECODE = partial(each, streams={"image": picture, "map": partial(label_map, classes=9, void=None)})
CROP = partial(joint_crop, nearest=("map",), flow=(), boxes=(), keep=())
SETTINGS = {"spec": SPEC, "batch_size": 4, "decode": DECODE}
ODD = "classes/2.png"


@pytest.fixture
def root(tmp_path):
    """Pictures of 12 x 16 pixels with maps of half the resolution."""
    for folder in ("rgb", "classes"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        pixels = np.full((12, 16, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"rgb/{number}.jpg")
        Image.fromarray(pixels[::2, ::2, 0] // 40).save(tmp_path / f"classes/{number}.png")
    return tmp_path


def opened(root):
    return unlabelled(path=str(root), streams={"image": "rgb", "map": "classes"})


def train(data, **options):
    return next(train_batches(data, seed=0, augment=CROP, **{**SETTINGS, **options}))


TURNED = np.zeros((8, 6), np.uint8)
FAULTS = {
    "turned": (lambda path: Image.fromarray(TURNED).save(path), r"8 x 6 .* image is 12 x 16"),
    "empty": (lambda path: path.write_bytes(b""), "empty file"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("repeats", [1, 2])
def test_a_bad_file_of_a_stream_is_listed_and_replaced(root, fault, repeats):
    spoil, words = FAULTS[fault]
    spoil(root / ODD)
    data = opened(root)
    seen = BadFiles(data, root / "run")
    batches = train_batches(data, seed=0, augment=CROP, repeats=repeats, **SETTINGS)
    for _ in range(repeats):
        batch = next(batches)
        seen.see(batch)
        bad = batch["record"] == 2
        assert (batch["bad"] == np.where(bad, 2, -1)).all()
        levels = batch["image"].mean((1, 2, 3)) / 40
        np.testing.assert_allclose(levels, np.where(bad, 3, batch["record"]), atol=0.1)
        np.testing.assert_array_equal(batch["map"][:, 0, 0, 0], levels.round())
    (line,) = (root / "run/bad_files.txt").read_text().splitlines()
    name, reason = line.split("\t")
    assert name == "2.jpg" and reason.startswith(f"map ({root / ODD}): ")
    centre = partial(joint_center_crop, **CROP.keywords)
    (test,) = eval_batches(data, transform=centre, **SETTINGS)
    assert test["valid"].tolist() == [True, True, False, True]
    for number in range(4):
        spoil(root / f"classes/{number}.png")
    with pytest.raises(TooManyBadImages, match=rf"none of .*map \(\S+0.png\): {words}"):
        check_example(data, DECODE, CROP, SPEC, KEYS)
    with pytest.raises(TooManyBadImages, match=rf"in a row .*map \(\S+.png\): {words}"):
        train(data)


def test_an_error_of_a_stream_names_its_file(root):
    Image.fromarray(np.full((6, 8), 200, np.uint8)).save(root / ODD)
    with pytest.raises(DataError, match=rf"^{root / ODD}: 'map' has the index 200"):
        train(opened(root))
    for number in range(4):
        Image.fromarray(np.full((6, 8), 200, np.uint8)).save(root / f"classes/{number}.png")
    with pytest.raises(DataError, match=rf"^{root}/classes/0.png: 'map' has the index 200"):
        check_example(opened(root), DECODE, CROP, SPEC, KEYS)


def test_a_decoder_that_fails_is_told_with_its_file(root):
    def fails(rng, encoded, channels):
        raise TypeError("no number")

    decode = partial(each, streams={"image": picture, "map": fails})
    words = rf"^{root}/classes/0.png \(map\): data.decode \(.*\) fails .* TypeError: no number"
    with pytest.raises(DataError, match=words):
        check_example(opened(root), decode, CROP, SPEC, KEYS)
    with pytest.raises(TypeError) as caught:
        train(opened(root), decode=decode)
    assert caught.value.__notes__[0].startswith(f"in {root}/classes/")


def test_records_inside_others_keep_the_names_of_their_files(root):
    class First:
        def __init__(self, records):
            self.records, self.labels, self.fingerprint = records, {}, ""

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return self.records[index]

        def name(self, index):
            return "first"

    Image.fromarray(TURNED).save(root / "classes/0.png")
    with pytest.raises(TooManyBadImages, match=rf"map \({root}/classes/0.png\): 8 x 6"):
        check_example(First(opened(root)), DECODE, CROP, SPEC, KEYS)


def test_a_stream_that_has_no_file_is_told_with_its_record(root):
    def made(rng, arrays, *, size):
        return {"image": arrays["image"][:8, :8], "map": np.full((6, 6, 1), 77, np.uint8)}

    data = unlabelled(path=str(root), streams={"image": "rgb"})
    with pytest.raises(DataError, match=r"^0.jpg: 'map' has the index 77"):
        check_example(data, partial(each, streams={"image": picture}), made, SPEC, KEYS)


def test_where_a_source_knows_no_files_record_and_stream_are_named():
    data = records([{}])
    with pytest.raises(BadImage, match=r"^map: torn"), naming(data, 0, SPEC, DECODE):
        raise BadImage("torn", "map")
    with pytest.raises(BadImage, match=r"^torn"), naming(data, 0, SPEC, DECODE):
        raise BadImage("torn")
    error = DataError("of another kind")
    with pytest.raises(DataError, match=r"^record 0: of another"), naming(data, 0, SPEC, DECODE):
        raise error
    error = DataError("of another kind")
    error.stream = "map"
    with pytest.raises(DataError, match=r"^record 0 \(map\): of"), naming(data, 0, SPEC, DECODE):
        raise error
