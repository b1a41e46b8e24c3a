"""README.md: its Python runs as it stands, its pictures exist and are whole."""

import inspect
import re

import numpy as np
import pytest
from PIL import Image

from maskmim.types import Context, Randomness, random_key
from tests.running import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
# What reads a run of the reader is docs/python.md's, which tests/inference/test_page.py executes.
BLOCKS = [block for block in FENCES if "maskmim.load(" not in block]
PICTURES = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", TEXT)


def test_there_is_python_to_run():
    assert BLOCKS and PICTURES


@pytest.mark.parametrize("block", BLOCKS)
def test_python_runs_as_it_stands(block):
    """In an empty module; a sampler that it defines draws masks too, with exact counts."""
    module: dict = {}
    exec(compile(block, "README.md", "exec"), module)
    for value in list(module.values()):
        if inspect.isfunction(value) and value.__code__.co_filename == "README.md":
            assert list(inspect.signature(value).parameters)[:2] == ["randomness", "context"]
            context = Context({}, {"image": (4, 6)}, {})
            mask = value(Randomness.of(random_key(0), 3), context, ratio=0.5)
            np.testing.assert_array_equal(np.asarray(mask.hidden).sum(1), [12, 12, 12])


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_whole_and_without_dither(name):
    """Sheets end in a white margin, and a palette would need dither."""
    with Image.open(ROOT / name) as picture:
        assert picture.mode in ("RGB", "RGBA")
        pixels = np.asarray(picture.convert("RGB"))
    assert (pixels[[0, -1]] == 255).all() and (pixels[:, [0, -1]] == 255).all()
