"""`python -m maskmim.stats`: what it prints can be used as it stands."""

import sys

import numpy as np
import pytest

from maskmim import stats
from maskmim.config.load import load
from maskmim.data.pipeline import eval_batches
from maskmim.data.records import TooManyBadImages
from maskmim.runtime import exits
from maskmim.training.build import bind_evals, spec_of
from tests.data import files
from tests.data.deep_files import numbers, tiff

KINDS = {
    "12 bits": lambda seed: tiff(numbers("uint16", (40, 40), seed) // 16),
    "reflectance": lambda seed: tiff(numbers("float32", (40, 40), seed)),
    "negative": lambda seed: tiff(numbers("int16", (40, 40), seed) // 9),
    "13 bands": lambda seed: tiff(
        numbers("uint16", (13, 40, 40), seed) // 7,
        planarconfig="separate",
        photometric="minisblack",
    ),
    "photographs": lambda seed: tiff(numbers("uint8", (40, 40, 3), seed), photometric="rgb"),
}


def printed_flags(text):
    return [
        word.rstrip("\\ ").removeprefix("--config.")
        for line in text.splitlines()
        for word in [line.strip()]
        if word.startswith("--config.")
    ]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_flags_make_inputs_of_mean_0_and_deviation_1(kind, tmp_path, capsys):
    files.write(tmp_path, {f"{seed}.tif": KINDS[kind](seed) for seed in range(6)})
    assert stats.main(["--path", str(tmp_path)]) == 0
    flags = printed_flags(capsys.readouterr().out)
    config = load(f"folder:path={tmp_path}", [*flags, "input.size=40,40"])
    spec, evals = spec_of(config), bind_evals(config)
    whole = evals.transform.func, {**evals.transform.keywords, "crop_fraction": 1.0}

    def transform(rng, image, size):
        return whole[0](rng, image, size=size, **whole[1])

    records = stats.open_path(str(tmp_path))
    batch = next(
        eval_batches(records, spec=spec, batch_size=6, decode=evals.decode, transform=transform)
    )
    assert not (batch["bad"] >= 0).any()
    values = batch["image"] / (255 if spec.dtype == "uint8" else 1)
    inputs = (values - spec.mean) / spec.std
    assert np.abs(inputs.mean((0, 1, 2))).max() < 0.01
    assert np.abs(inputs.std((0, 1, 2)) - 1).max() < 0.01


def test_unreadable_files_are_named_and_images_can_be_fewer(tmp_path, capsys):
    content = {f"{seed}.png": files.encoded(files.picture(seed), "PNG") for seed in range(4)}
    files.write(tmp_path, {**content, "broken.png": b"no image"})
    assert stats.main(["--path", str(tmp_path), "--workers", "2"]) == 0
    captured = capsys.readouterr()
    assert "5 images" in captured.out and "4 read" in captured.out
    assert "broken.png: not an image" in captured.out
    assert "measure: 100%" in captured.err
    assert stats.main(["--path", str(tmp_path), "--images", "2"]) == 0
    assert "2 images" in capsys.readouterr().out


def test_a_config_is_measured_by_its_name(capsys):
    assert stats.main(["--config", "mae:tiny", "--images", "3"]) == 0
    assert "--config.input.channels=3" in capsys.readouterr().out


def test_a_stream_of_a_config_is_measured_by_its_name(tmp_path, capsys):
    for seed in range(3):
        depth = np.random.default_rng(seed).integers(500, 900, (9, 7), np.uint16)
        files.write(tmp_path, {f"depth/a/{seed}.png": files.encoded(depth, "PNG")})
        files.write(tmp_path, {f"rgb/a/{seed}.png": files.encoded(files.picture(seed), "PNG")})
    (tmp_path / "two.py").write_text(
        "from maskmim.config import base, brick\n"
        "from maskmim.config.defaults import stream\n"
        "from maskmim.data import stream_folders\n\n\n"
        "def get_config(arg=''):\n"
        "    config = base()\n"
        "    config.input.streams = {'depth': stream()}\n"
        "    folders = {'image': 'rgb', 'depth': 'depth'}\n"
        f"    config.data.train = brick(stream_folders.labelled, path={str(tmp_path)!r},\n"
        "                              streams=folders)\n"
        "    return config\n"
    )
    name = ["--config", str(tmp_path / "two.py")]
    assert stats.main([*name, "--stream", "depth"]) == 0
    text = capsys.readouterr().out
    assert "--config.input.streams.depth.channels=1" in text and "uint16" in text
    assert "--config.data.decode.streams.depth.brick=maskmim.data.decode.scaled" in text
    assert stats.main(name) == 0
    assert "--config.input.channels=3" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "give --path DIR, or --config NAME"),
        (["--path", "/nowhere/at/all"], "does not exist"),
        (["--path", "EMPTY"], "no images"),
        (["--path", "EMPTY/../one.png"], "is one image: give the folder"),
        (["--config", "videomae:tiny"], "reads video, not images"),
        (["--config", "nosuch"], "nosuch"),
        (["--path", "EMPTY", "--stream", "depth"], "give --config NAME too"),
        (["--config", "mae:tiny", "--stream", "depth"], "no such stream; it has image"),
        (["--config", "multimae:tiny", "--stream", "colours"], "colours has indices of classes"),
        (["--config", "multimae:tiny", "--stream", "grey"], "no files of it to measure"),
        (["--path", "EMPTY", "--workers", "1025"], "expected a whole number from 1 to 1024"),
    ],
)
def test_mistakes_end_with_a_sentence(arguments, words, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    files.write(tmp_path, {"one.png": files.encoded(files.picture(0), "PNG")})
    told = [word.replace("EMPTY", str(tmp_path / "empty")) for word in arguments]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["stats", *told])
        assert exits.run(stats.main) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error


def test_a_folder_of_unreadable_files_is_an_error(tmp_path):
    files.write(tmp_path, {"a.png": b"nothing", "b.png": b""})
    with pytest.raises(TooManyBadImages, match=r"none of 2 images can be read; a\.png"):
        stats.main(["--path", str(tmp_path)])
