"""Ranking of samplers: the selection, the scores, the images and the table."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks.rank_samplers import main
from maskmim import errors
from maskmim.data.grocery import grocery
from maskmim.data.records import DataError
from maskmim.mask_tools.alignment import prepare_images
from maskmim.mask_tools.discovery import Sampler
from maskmim.mask_tools.rank_samplers import (
    NO_MASK,
    Ranked,
    Tokens,
    load_pictures,
    rank,
    rank_references,
    rankable_samplers,
    ranking_table,
)
from maskmim.masks.core import MaskError
from maskmim.masks.uniform import random
from maskmim.runtime import exits

TOKENS = Tokens(size=8, patch=2, channels=1)


@pytest.fixture(scope="module")
def data():
    """Return two classes that differ in a wave across the image, under strong, smooth noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 2
    wave = np.where(np.arange(8) % 4 < 2, 1, -1) * (2 * labels[:, None] - 1)
    shade = rng.standard_normal((300, 1, 1)) * np.linspace(2, 3, 8)
    pixels = wave[:, None, :] * 0.5 + shade + 0.3 * rng.standard_normal((300, 8, 8))
    return prepare_images(pixels, labels)


def plain(name, function):
    return Sampler(name, function, (2,), (), False, ("ratio",))


def test_samplers_that_need_only_a_ratio_are_ranked():
    names = [each.name for each in rankable_samplers()]
    assert {"uniform.random", "colour.green", "colour.red"} <= set(names)
    assert not {"bank.cropped", "combine.mixture", "colour.strongest"} & set(names)
    assert [each.name for each in rankable_samplers(["colour.red"])] == ["colour.red"]
    with pytest.raises(MaskError, match=r"bank\.cropped.*uniform\.random"):
        rankable_samplers(["bank.cropped"])


def test_curves_of_all_seeds_at_the_widths_asked(data):
    (result,) = rank(
        data, TOKENS, [plain("r", random)], ratio=0.75, widths=[2, 64, 1], draws=256, seeds=2
    )
    assert result.curves.shape == (2, 3) and result.hidden == pytest.approx(0.75)
    assert (result.curves[0] != result.curves[1]).any()
    np.testing.assert_allclose(result.curves[:, 1], 1)
    assert (result.curves[:, 2] < result.curves[:, 0]).all()


def test_random_masks_rank_beside_independent_ones_and_not_beside_none(data):
    none, independent = rank_references(data, TOKENS, ratio=0.75, widths=[1, 2, 8])
    (result,) = rank(
        data, TOKENS, [plain("r", random)], ratio=0.75, widths=[1, 2, 8], draws=4096, seeds=1
    )
    assert (none.name, none.hidden) == (NO_MASK, 0) and independent.hidden == pytest.approx(0.75)
    assert abs(result.curves - independent.curves).max() < 0.02
    assert abs(none.curves - independent.curves).max() > 0.05


def test_a_sampler_that_cannot_be_drawn_is_reported_and_the_others_go_on(data):
    def never(randomness, context, *, ratio):
        raise MaskError("the grid is too small")

    first, second = rank(
        data,
        TOKENS,
        [plain("never", never), plain("r", random)],
        ratio=0.5,
        widths=[1],
        draws=64,
        seeds=1,
    )
    assert first[0] == "never" and "too small" in str(first[1])
    assert isinstance(second, Ranked)


def test_more_features_than_visible_pixels_capture_what_all_of_them_do(data):
    def left_half(randomness, context, *, ratio):
        mask = random(randomness, context, ratio=ratio)
        hidden = np.arange(16) % 4 >= 2
        return mask._replace(hidden=mask.hidden | hidden)

    (result,) = rank(
        data, TOKENS, [plain("l", left_half)], ratio=0.5, widths=[32, 60], draws=512, seeds=1
    )
    assert result.curves[0, 0] == result.curves[0, 1] < 1


def test_the_table_is_sorted_and_shows_the_spread_over_seeds():
    rows = [
        Ranked("low", 0.75, np.array([[0.2, 0.3], [0.2, 0.34]])),
        Ranked("higher", 0.0, np.array([[0.5, 0.6]])),
    ]
    head, first, second = ranking_table(rows, [4, 16]).splitlines()
    assert head.split() == ["sampler", "hidden", "K=4", "K=16", "mean", "spread"]
    assert first.split() == ["higher", "0.0", "%", "50.00", "60.00", "55.00"]
    assert second.split() == ["low", "75.0", "%", "20.00", "32.00", "26.00", "2.00"]


def test_pictures_are_spread_evenly_and_labels_are_theirs():
    records = grocery(split="val")
    small, labels = load_pictures(records, Tokens(8, 2, 3), label_set="coarse", most=4)
    assert small.shape == (4, 8, 8, 3) and small.dtype == np.uint8
    assert labels.tolist() == [records[place].labels["coarse"] for place in (0, 98, 196, 295)]
    with pytest.raises(DataError, match=r"--labels may be .*coarse"):
        load_pictures(records, TOKENS, label_set="class", most=4)


def test_the_command_on_a_folder(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name in ("dark", "light"):
        (tmp_path / name).mkdir()
        for number in range(20):
            pixels = rng.integers(0, 120, (4, 6, 3)) + (130 if name == "light" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name / f"{number}.png")
    settings = "--size 4 --patch 1 --grey --widths 1 8 --draws 64 --seeds 2"
    arguments = ["uniform.random", "--folder", str(tmp_path), *settings.split()]
    assert main(arguments) == errors.DONE
    lines = capsys.readouterr().out.splitlines()
    assert "16 pixel values" in lines[0] and "'class' (2 classes); 40 images" in lines[0]
    assert {line.split()[0] for line in lines[3:]} == {"uniform.random", "(no", "(independent)"}


@pytest.mark.parametrize("arguments", ["--size 16 --patch 3", "--size 4 --grey --widths 17"])
def test_options_that_do_not_fit_are_errors(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments.split())
    assert left.value.code == errors.USAGE
    assert "--patch 3" in (message := capsys.readouterr().err) or "1 to 16" in message


def test_too_few_images(tmp_path, capsys):
    (tmp_path / "one").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "one" / "a.png")
    arguments = ["--folder", str(tmp_path), "--widths", "1"]
    assert exits.run(main, arguments) == errors.USAGE
    assert "more images than values" in capsys.readouterr().err
