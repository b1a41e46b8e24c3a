"""Channel names and the channels of pictures are checked when a training is built."""

import pytest

from maskmim.config.load import load
from maskmim.errors import UserError
from maskmim.training.build import picture_channels, spec_of

FOUR = [
    "input.channels=4",
    "input.mean=0,0,0,0",
    "input.std=1,1,1,1",
]


def config(*changes):
    return load("mae:tiny", [*FOUR, *changes])


def test_names_are_part_of_the_spec():
    assert spec_of(config()).names == ()
    assert spec_of(config("input.channel_names=B2,B3,B4,B8")).names == ("B2", "B3", "B4", "B8")


@pytest.mark.parametrize("names, words", [("B2,B3", "2 different names"), ("a,b,c,c", "3 diff")])
def test_each_channel_has_one_name(names, words):
    with pytest.raises(UserError, match=rf"{words}.*input\.channels is 4"):
        spec_of(config(f"input.channel_names={names}"))


@pytest.mark.parametrize(
    "chosen, expected", [("()", ()), ("3,2,1", (3, 2, 1)), ("B8,B4,0", (3, 2, 0)), ("B3", (1,))]
)
def test_channels_of_pictures_have_numbers_or_names(chosen, expected):
    made = config("input.channel_names=B2,B3,B4,B8", f"log.picture_channels={chosen}")
    assert picture_channels(made, spec_of(made)) == expected


@pytest.mark.parametrize("chosen", ["4,1,0", "0,1", "B9,0,1"])
def test_channels_that_are_not_there_are_refused(chosen):
    made = config(f"log.picture_channels={chosen}")
    with pytest.raises(UserError, match="each a number from 0 to 3"):
        picture_channels(made, spec_of(made))
