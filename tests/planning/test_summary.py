"""The sheet that a training prints before it starts."""

from types import SimpleNamespace

import jax
import pytest

from maskmim.config.load import load
from maskmim.planning import summary
from maskmim.planning.summary import decoder_warning

WARNING = "warning: the decoder is larger than the encoder"


def parts(**sizes):
    shapes = {
        name: {"kernel": jax.ShapeDtypeStruct((size,), "float32")} for name, size in sizes.items()
    }
    return SimpleNamespace(shapes=SimpleNamespace(params=shapes))


def test_the_sheet_says_what_the_method_does(monkeypatch):
    for rows in ("method_rows", "model_rows", "schedule_rows", "device_rows"):
        monkeypatch.setattr(summary, rows, lambda *_: [("data", "photographs")])
    parts = SimpleNamespace(method=SimpleNamespace(does="training on labels"))
    sheet = summary.start_sheet(load("mae:tiny"), parts, 3)
    assert sheet.startswith("maskmim: training on labels\n---------------------------\ndata")


@pytest.mark.parametrize(
    "sizes, warned",
    [
        ({"encoder": 10, "decoder": 11}, True),
        ({"encoder": 10, "decoder": 10}, False),
        ({"encoder": 10}, False),
        ({"decoder": 10}, False),
    ],
)
def test_a_decoder_larger_than_its_encoder_is_warned_of(sizes, warned):
    rows = decoder_warning(load("mae:tiny"), parts(**sizes))
    assert len(rows) == warned
    if warned:
        assert rows[0][1].startswith(WARNING)
        assert "--config.model.decoder_depth and --config.model.decoder_width" in rows[0][1]


def test_the_keys_are_those_of_the_model():
    ((_, text),) = decoder_warning(load("videomae:tiny"), parts(encoder=1, decoder=2))
    assert text.endswith("change it with --config.model.decoder")
    ((_, text),) = decoder_warning(load("attmask:tiny"), parts(encoder=1, decoder=2))
    assert "--config" not in text
