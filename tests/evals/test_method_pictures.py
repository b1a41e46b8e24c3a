"""Drawing what a method shows of itself."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim import modalities
from maskmim.data.records import Example
from maskmim.evals import method_pictures
from maskmim.evals.method_pictures import draw_column, jit_in_order
from maskmim.models.streams import stream_net
from maskmim.reporting import sheets
from maskmim.reporting.streams import GREY
from maskmim.training.sharding import make_mesh
from tests.evals.pictured import evaluation_of, hide_first, net_of, parts_of, spec_of


def levels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_columns_keep_the_order_that_they_were_given_in():
    def draw(factor):
        return {"true": factor * jnp.ones(2), "a guess": factor * jnp.zeros(2)}

    mesh = make_mesh({"data": -1, "fsdp": 1, "tensor": 1})
    run = jit_in_order(SimpleNamespace(mesh=mesh), draw)
    for factor in (1.0, 2.0):
        found = run(factor)
        assert list(found) == ["true", "a guess"] and found["true"][0] == factor


@pytest.mark.parametrize(
    "chosen, names, shown",
    [
        ((), (), (0, 1, 2)),
        ((7, 3, 0), (), (7, 3, 0)),
        (("5",), (), (5, 5, 5)),
        (("B7", "B0", 2), tuple(f"B{i}" for i in range(13)), (7, 0, 2)),
    ],
)
def test_pictures_show_the_chosen_channels(chosen, names, shown):
    spec = spec_of((8, 8), 13, names=names)
    evaluation = evaluation_of(parts_of(spec), channels=chosen)
    arrays = levels(2, 8, 8, 13)
    assert np.array_equal(draw_column(evaluation, arrays), arrays[..., list(shown)])
    rgb = arrays[..., :3]  # a picture of something else than the input
    assert np.array_equal(draw_column(evaluation, rgb), rgb)


@pytest.mark.parametrize("channels", [1, 2])
def test_pictures_of_one_or_two_channels_are_grey(channels):
    evaluation = evaluation_of(parts_of(spec_of((8, 8), channels)))
    arrays = levels(2, 8, 8, channels)
    assert np.array_equal(draw_column(evaluation, arrays), arrays[..., :1].repeat(3, -1))


TWO = spec_of()._replace(streams={"sound": spec_of((12, 8), 1, stream="sound")})
KINDS = {"sound": modalities.spectrogram()}


def test_a_column_is_drawn_as_the_stream_of_its_size():
    evaluation = evaluation_of(parts_of(TWO, kinds=KINDS))
    photo, sound = levels(2, 8, 8, 3), levels(2, 12, 8, 1)
    np.testing.assert_array_equal(draw_column(evaluation, photo), photo)
    expected = modalities.spectrogram().draw(sound)
    np.testing.assert_array_equal(draw_column(evaluation, sound), expected)
    assert draw_column(evaluation, levels(2, 3, 8, 8, 3)).shape == (2, 3, 8, 8, 3)


class Examples:
    """Records of two arrays and two sets of labels."""

    def __init__(self):
        self.labels = {"kind": ("a", "b"), "other": ("c",)}
        self.fingerprint = ""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return Example(levels(8, 8, 3) // (index + 1), {"kind": index % 2, "other": 0})

    def name(self, index):
        return str(index)


def test_examples_have_every_array_of_the_transform_and_the_labels_that_are_learnt():
    depth = spec_of((8, 8), 1, stream="depth")
    parts = parts_of(spec_of()._replace(streams={"depth": depth}, labels={"kind": 2}))

    def decode(rng, encoded, channels):
        return {"image": encoded, "depth": encoded[..., :1]}

    def transform(rng, arrays, size):
        return arrays

    parts.evals = SimpleNamespace(test=Examples, decode=decode, transform=transform)
    parts.data = SimpleNamespace(augment=transform)
    found = method_pictures.example_batch(parts, 3)
    assert {name: array.shape for name, array in found.items() if name != "label"} == {
        "image": (3, 8, 8, 3),
        "depth": (3, 8, 8, 1),
    }
    np.testing.assert_array_equal(found["image"][..., :1], found["depth"])
    assert {name: list(each) for name, each in found["label"].items()} == {"kind": [0, 0, 0]}


@pytest.fixture
def drawn(monkeypatch):
    """The columns and titles of the sheets that are drawn."""
    sheets_drawn = []

    def draw_sheet(columns, *, title, groups=1):
        sheets_drawn.append((dict(columns), title))
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(sheets, "draw_sheet", draw_sheet)
    return sheets_drawn


def given(monkeypatch, **arrays):
    monkeypatch.setattr(method_pictures, "example_batch", lambda parts, count: arrays)


def test_masks_are_drawn_for_each_stream_on_its_own_grid(tmp_path, monkeypatch, drawn):
    photo, sound = levels(2, 8, 8, 3), levels(2, 12, 8, 1)
    given(monkeypatch, image=photo, sound=sound)
    evaluation = evaluation_of(parts_of(TWO, kinds=KINDS), tmp_path)
    method_pictures.draw_masks(evaluation._replace(pictures="images-a"))
    ((columns, title),) = drawn
    assert list(columns) == [
        "image",
        "image: what the encoder may see",
        "sound",
        "sound: what the encoder may see",
    ]
    assert "image: 25.0% hidden: 1 of 4" in title and "sound: 16.7% hidden: 1 of 6" in title
    masked = columns["image: what the encoder may see"]
    assert (masked[:, :4, :4] == GREY).all()
    np.testing.assert_array_equal(masked[:, 4:], photo[:, 4:])
    upright = columns["sound: what the encoder may see"]
    assert upright.shape == (2, 8, 12, 3) and (upright[:, 4:, :4] == GREY).all()
    np.testing.assert_array_equal(upright[:, :, 4:], columns["sound"][:, :, 4:])
    assert (tmp_path / "images-a" / "masks.png").exists()


def test_one_stream_has_the_titles_that_it_had(tmp_path, monkeypatch, drawn):
    given(monkeypatch, image=levels(2, 8, 8, 3))
    method_pictures.draw_masks(evaluation_of(parts_of(spec_of()), tmp_path))
    ((columns, title),) = drawn
    assert list(columns) == ["image", "what the encoder may see"]
    assert title.splitlines()[1] == "25.0% hidden: 1 of 4 patches of each image"


def with_reconstruction(spec, streams, **options):
    """Parts of a method that predicts black for the first token of some streams."""
    parts = parts_of(spec, apply=("mask", "reconstruct"), **options)
    net = parts.method.net

    def of_stream(name, batch):
        own, mask = stream_net(net, name), hide_first(2, int(np.prod(net.grids[name])))
        inputs = own.inputs(batch)
        black = jnp.zeros((2, 1, own.patchify(inputs).shape[-1]))
        return {"mask": mask, "inputs": inputs, "prediction": black, "pixels": black}

    def reconstruct(variables, batch, randomness):
        if len(spec.arrays) == 1:
            return of_stream(spec.stream, batch)
        found = {name: of_stream(name, batch) for name in streams}
        return {"mask": None, "inputs": net.inputs(batch), "streams": found}

    parts.method.apply["reconstruct"] = reconstruct
    return parts


def test_each_stream_that_is_predicted_has_its_columns_and_errors(tmp_path, monkeypatch, drawn):
    photo, sound = levels(2, 8, 8, 3), levels(2, 12, 8, 1)
    given(monkeypatch, image=photo, sound=sound)
    parts = with_reconstruction(TWO, ("sound", "image"), kinds=KINDS)
    found = method_pictures.draw_reconstruction(evaluation_of(parts, tmp_path))
    ((columns, _),) = drawn
    assert list(columns) == [
        f"{stream}: {version}"
        for stream in ("image", "sound")
        for version in ("example", "masked", "reconstruction")
    ]
    restored = columns["image: reconstruction"]
    assert not restored[:, :4, :4].any()
    np.testing.assert_array_equal(restored[:, 4:], photo[:, 4:])
    for name, arrays in (("image", photo), ("sound", sound)):
        expected = ((arrays[:, :4, :4] / 255) ** 2).mean()
        assert found.errors[f"reconstruction/{name}/mse"] == pytest.approx(expected, rel=1e-5)


def test_errors_of_the_only_predicted_stream_have_the_names_that_they_had(
    tmp_path, monkeypatch, drawn
):
    given(monkeypatch, image=levels(2, 8, 8, 3), sound=levels(2, 12, 8, 1))
    parts = with_reconstruction(TWO, ("sound",), kinds=KINDS)
    found = method_pictures.draw_reconstruction(evaluation_of(parts, tmp_path))
    assert "reconstruction/mse" in found.errors
    assert list(drawn[0][0]) == ["example", "masked", "reconstruction"]


def test_errors_are_measured_where_nothing_can_be_drawn(tmp_path, monkeypatch, drawn):
    given(monkeypatch, image=levels(2, 8, 8, 3))
    parts = with_reconstruction(spec_of(), ("image",), kinds={"image": modalities.unseen()})
    found = method_pictures.draw_reconstruction(evaluation_of(parts, tmp_path))
    assert found.sheet is None and not drawn and found.errors["reconstruction/mse"] > 0


def test_tokens_that_do_not_divide_the_size_are_greyed_as_the_network_cuts_them(
    tmp_path, monkeypatch, drawn
):
    photo = levels(2, 8, 8, 3)
    given(monkeypatch, image=photo)
    spec = spec_of()
    halves = {
        "grids": {"image": (3,)},  # as of a network that cuts a strip and a rest
        "patchify": lambda array: array.reshape(2, 4, -1)[:, :3],
        "restore": lambda cut: jnp.pad(cut, ((0, 0), (0, 1), (0, 0))).reshape(2, 8, 8, 3),
    }
    parts = with_reconstruction(spec, ("image",), net=net_of(spec, **halves))
    method_pictures.draw_reconstruction(evaluation_of(parts, tmp_path))
    masked = drawn[0][0]["masked"]
    assert (masked[:, :2] == GREY).all()
    np.testing.assert_array_equal(masked[:, 2:], photo[:, 2:])


def test_sheets_of_a_method_are_skipped_where_nothing_can_be_drawn(tmp_path, monkeypatch, drawn):
    given(monkeypatch, image=levels(2, 8, 8, 3))

    def sheet(variables, batch, randomness):
        return {"as it is": batch["image"]}

    for kind, drawings in ((modalities.image, 1), (modalities.unseen, 0)):
        parts = parts_of(spec_of(), kinds={"image": kind()}, sheets={"copy": sheet})
        pictures = method_pictures.draw_sheets(evaluation_of(parts, tmp_path))
        assert len(drawn) == len(pictures) == drawings
        drawn.clear()
