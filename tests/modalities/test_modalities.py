"""How arrays of each kind of stream are shown, and what is hidden of them."""

import matplotlib
import numpy as np
import pytest
from ml_collections import ConfigDict

from maskmim import modalities
from maskmim.checkpoints.workdir import find_rule
from maskmim.config import base, brick
from maskmim.config.defaults import stream
from maskmim.config.load import override
from maskmim.config.print_config import NO_RESULT, mark_of
from maskmim.config.upgrade import upgrade
from maskmim.errors import UserError
from maskmim.evals.evaluation import left_out
from maskmim.modalities import Modality, ModalityError
from maskmim.reporting.streams import GREY
from maskmim.training.build import build_modalities, evaluated_streams, spec_of
from maskmim.types import Spec


def arrays_of(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def hidden_of(*shape):
    return np.random.default_rng(1).random(shape) < 0.5


@pytest.mark.parametrize(
    "channels, shown", [(1, [0] * 3), (2, [0] * 3), (3, [0, 1, 2]), (5, [0, 1, 2])]
)
def test_images_show_their_first_channels_and_grey_where_hidden(channels, shown):
    images, hidden = arrays_of(2, 4, 6, channels), hidden_of(2, 4, 6)
    kind = modalities.image()
    np.testing.assert_array_equal(kind.draw(images), images[..., shown])
    masked = kind.draw(images, hidden)
    assert (masked[hidden] == GREY).all()
    np.testing.assert_array_equal(masked[~hidden], images[..., shown][~hidden])


def test_clips_are_shown_frame_by_frame():
    clips, hidden = arrays_of(2, 3, 4, 6, 3), hidden_of(2, 3, 4, 6)
    kind = modalities.clip()
    np.testing.assert_array_equal(kind.draw(clips), clips)
    np.testing.assert_array_equal(
        kind.draw(clips, hidden), np.where(hidden[..., None], GREY, clips)
    )


def test_spectrograms_stand_upright_in_colours_and_hidden_patches_are_grey():
    sound = np.zeros((1, 32, 16, 1), np.uint8)
    sound[0, -4:, -4:] = 255  # The end of the time, the highest bands.
    hidden = np.zeros((1, 32, 16), bool)
    hidden[0, :8, :8] = True  # The beginning of the time, the lower half of the bands.
    picture = modalities.spectrogram().draw(sound, hidden)[0]
    assert picture.shape == (16, 32, 3)
    dark, bright = ((matplotlib.colormaps["magma"](v)[:3]) for v in (0, 255))
    expected = np.empty((16, 32, 3), np.uint8)
    expected[:] = (np.array(dark) * 255).astype(np.uint8)
    expected[:4, -4:] = (np.array(bright) * 255).astype(np.uint8)
    expected[8:, :8] = GREY
    np.testing.assert_array_equal(picture, expected)


def test_pictures_on_the_axes_of_a_spectrogram_are_turned_as_it_is():
    rgb = arrays_of(1, 8, 4, 3)
    drawn = modalities.spectrogram().draw(rgb)
    np.testing.assert_array_equal(drawn[0], rgb[0].swapaxes(0, 1)[::-1])


@pytest.mark.parametrize("size", [(4, 6), (3, 4, 6)])
def test_classes_have_colours_of_their_own_none_of_which_looks_hidden(size):
    maps = arrays_of(2, *size, 1)
    drawn = modalities.class_map().draw(maps)
    assert drawn.shape == (2, *size, 3)
    every = modalities.class_map().draw(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1))
    colours = every.reshape(256, 3).astype(int)
    assert len(np.unique(colours, axis=0)) == 256
    assert np.abs(colours - GREY).max(axis=1).min() > 10
    assert not colours[255].any() and colours[:255].max(axis=1).min() > 31  # No class is black.
    np.testing.assert_array_equal(drawn, colours[maps[..., 0]])
    hidden = hidden_of(2, *size)
    assert (modalities.class_map().draw(maps, hidden)[hidden] == GREY).all()


def test_kinds_take_sizes_of_their_axes():
    def spec(*size):
        return Spec(size, 1, (0.0,), (1.0,))

    taken = {
        kind.__name__: [n for n in (1, 2, 3) if kind().fits(spec(*(8,) * n))]
        for kind in (modalities.image, modalities.clip, modalities.spectrogram)
    }
    assert taken == {"image": [2], "clip": [3], "spectrogram": [2]}
    assert modalities.unseen().fits(spec(8)) and modalities.unseen().picture is None


@pytest.mark.parametrize(
    "made, said",
    [
        (np.zeros((2, 4, 6, 3)), r"float64\[2, 4, 6, 3\]"),
        (np.zeros((2, 4, 6, 1), np.uint8), r"uint8\[2, 4, 6, 1\]"),
        (np.zeros((1, 4, 6, 3), np.uint8), r"uint8\[1, 4, 6, 3\]"),
        (np.zeros((2, 6, 3), np.uint8), r"uint8\[2, 6, 3\]"),
    ],
)
def test_a_function_that_makes_no_picture_is_named(made, said):
    kind = Modality(lambda arrays, hidden: made)
    with pytest.raises(ModalityError, match=f"returned {said} for arrays uint8"):
        kind.draw(arrays_of(2, 4, 6, 1))


def turned(*, by: float = 0.0) -> Modality:
    """A kind of a package of one's own."""
    return Modality(None, (2,) if by else ())


def no_kind() -> int:
    return 3


def load_with(text):
    config = override(base(), [text])
    return build_modalities(config, spec_of(config))


def test_the_kind_of_a_stream_is_a_brick_of_any_package():
    here = f"{__name__}.turned"
    found = load_with(f"input.kind.brick={here}")
    assert found["image"] == turned()
    config = override(base(), [f"input.kind.brick={here}", "input.kind.by=1"])
    assert build_modalities(config, spec_of(config))["image"].axes == (2,)


def test_every_stream_has_its_kind_the_main_one_first():
    config = base()
    with config.unlocked():
        config.input.streams = {
            "text": stream(kind=brick(modalities.unseen), channels=1, classes=9, dtype="int32"),
            "map": stream(kind=brick(turned, by=2.0)),
            "depth": stream(),
        }
    found = build_modalities(config, spec_of(config))
    assert list(found) == ["image", "depth", "map", "text"]
    assert found["text"].picture is None and found["map"].axes == (2,)
    assert found["depth"] == modalities.image()


@pytest.mark.parametrize(
    "value, said",
    [
        ("maskmim.modalities.spectogram", "did you mean .*maskmim.modalities.spectrogram"),
        ("maskmim.masks.uniform.random", "input.kind.*a kind of stream"),
        (f"{__name__}.no_kind", "returns int"),
    ],
)
def test_what_is_no_kind_is_refused_by_name(value, said):
    with pytest.raises(ValueError, match=said):
        load_with(f"input.kind.brick={value}")


def test_a_kind_that_returns_something_else_is_named(monkeypatch):
    monkeypatch.setattr(no_kind, "__annotations__", {})
    with pytest.raises(ValueError, match=r"input.kind.brick .*no_kind\) returned an int"):
        load_with(f"input.kind.brick={__name__}.no_kind")


@pytest.mark.parametrize(
    "stream_name, path", [("image", "image"), ("audio", "spectrogram"), ("video", "clip")]
)
def test_stored_configs_get_the_kind_that_the_name_of_their_stream_stood_for(stream_name, path):
    old = ConfigDict(base().to_dict())
    old.input.stream = stream_name
    del old["input"]["kind"], old["evals"]["streams"]
    config = upgrade(old)
    assert config.input.kind.brick == f"maskmim.modalities.{path}"
    assert config.evals.streams == ()


def test_what_is_shown_may_change_when_a_run_continues():
    assert find_rule("input.kind.brick").free and not find_rule("input.size").free
    assert find_rule("input.streams.depth.kind.brick").free
    assert not find_rule("input.streams.depth.size").free and not find_rule("input.streams").free
    assert not find_rule("input.streams.kind.size").free  # a stream of this name
    for key in ("input.kind.brick", "input.streams.depth.kind.brick"):
        assert mark_of(key) == NO_RESULT
    assert mark_of("input.streams.depth.size") == mark_of("input.size") != NO_RESULT


def test_the_streams_of_an_evaluation_are_named_in_any_order():
    config = base()
    with config.unlocked():
        config.input.streams = {"depth": stream()}
    spec = spec_of(config)
    assert evaluated_streams(config, spec) == ("image", "depth")
    config.evals.streams = ("depth", "image")
    assert evaluated_streams(config, spec) == ("image", "depth")
    config.evals.streams = ("depth",)
    assert left_out(config, spec) == ("image",)
    config.evals.streams = ("depth", "sound")
    with pytest.raises(UserError, match=r"evals.streams names 'sound'.* image, depth: name some"):
        evaluated_streams(config, spec)
