"""configs/folder.py: what stands after its colon."""

import os

import pytest

from maskmim.config.load import load
from maskmim.errors import UserError
from tests.config.examples import message


def sources(argument, *flags):
    """Return (train, evals.train, evals.test) as (function, path), None where there is none."""
    config = load(f"folder{argument}", flags)
    parts = config.data.train, config.evals.train, config.evals.test
    return [part and (part.brick.removeprefix("maskmim.data."), part.path) for part in parts]


PHOTOS = "folder.unlabelled", "/data/photos"


@pytest.mark.parametrize(
    "argument, expected",
    [
        (":/data/photos", [PHOTOS, None, None]),
        (":path=/data/photos", [PHOTOS, None, None]),
        (":size=96,/data/photos", [PHOTOS, None, None]),
        (":photos", [("folder.unlabelled", "photos"), None, None]),
        (":~/photos", [("folder.unlabelled", os.path.expanduser("~/photos")), None, None]),
        (":/data/a=b", [("folder.unlabelled", "/data/a=b"), None, None]),
        (':path="/data/a,b=c",size=96', [("folder.unlabelled", "/data/a,b=c"), None, None]),
        (":'/data/a,b'", [("folder.unlabelled", "/data/a,b"), None, None]),
        (":/a,labelled", [("folder.labelled", "/a"), None, None]),
        (":/a,test=/b", [("folder.labelled", p) for p in ("/a", "/a", "/b")]),
        (":/a,labelled,test=/b", [("folder.labelled", p) for p in ("/a", "/a", "/b")]),
        (":shards=/s", [("array_record.shards", "/s"), None, None]),
        (":shards=/s,test=/t", [("array_record.shards", p) for p in ("/s", "/s", "/t")]),
    ],
)
def test_where_the_images_come_from(argument, expected):
    assert sources(argument) == expected


def test_flags_give_the_data_without_a_path():
    brick = "data.train.brick=maskmim.data.array_record.shards"
    expected = [("array_record.shards", "/s"), None, None]
    assert sources("", brick, "data.train.path=/s") == expected
    assert sources("", "data.train.path=/p") == [("folder.unlabelled", "/p"), None, None]


@pytest.mark.parametrize(
    "argument, words",
    [
        ("/data/a,b", ["no 'b'", "write it in quotes: 'path=\"/data/a,b\"'"]),
        ("path=/data/a,b,size=96", ["write it in quotes: 'path=\"/data/a,b\"'"]),
        ("labeled", ["did you mean labelled?"]),
        ("/a,siez=96", ["no 'siez'", "did you mean size?"]),
        ("path=/a,shards=/b", ["path=/a,shards=/b: give one of them"]),
        ("/a,variant=S/8,patch=16", ["give the patch size once"]),
        ("/a,variant=S/x", ["variant=S/x"]),
        ("/a,decoder=4", ["decoder=4: write blocks x width, as in 4x192"]),
        ("/a,decoder=4x100", ["multiple of 4 and of its 3 heads"]),
    ],
)
def test_mistakes_are_sentences(argument, words):
    said = message(load, f"folder:{argument}")
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    "argument, patch, decoder",
    [
        ("", 16, (4, 192, 6)),
        ("variant=S/8", 8, (4, 192, 6)),
        ("variant=Ti,patch=8", 8, (4, 96, 3)),
        ("variant=mini", 16, (2, 96, 3)),
        ("variant=nano", 16, (1, 32, 1)),
        ("variant=6x100x4", 16, (2, 32, 1)),
        ("variant=B", 16, (8, 512, 16)),
        ("variant=H/14", 14, (8, 512, 16)),
        ("decoder=2x64", 16, (2, 64, 2)),
        ("decoder=2x100x5", 16, (2, 100, 5)),
    ],
)
def test_small_encoders_have_small_decoders(argument, patch, decoder):
    model = load(f"folder:/a,{argument}").model
    assert model.patch == (patch, patch)
    assert (model.decoder_depth, model.decoder_width, model.decoder_heads) == decoder


@pytest.mark.parametrize(
    "argument, rate", [("", 6e-4), ("batch=4096", 2.4e-3), ("batch=64", 3e-4), ("lr=1e-3", 1e-3)]
)
def test_the_rate_follows_the_root_of_the_batch(argument, rate):
    optim = load(f"folder:/a,{argument}").optim
    assert optim.lr == pytest.approx(rate, rel=1e-12) and optim.lr_per == 0


def test_an_unknown_variant_is_a_sentence():
    with pytest.raises(UserError, match="unknown ViT variant 'XXL': use one of nano"):
        load("folder:/a,variant=XXL")
