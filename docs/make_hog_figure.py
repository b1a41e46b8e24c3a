"""Draws docs/images/hog.png: photographs and the HOG that MaskFeat predicts of them.

python -m docs.make_hog_figure
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.data.transforms import resize_center_crop
from maskmim.defaults import IMAGENET_MEAN, IMAGENET_STD
from maskmim.pictures import save_png
from maskmim.targets.hog import hog
from maskmim.targets.hog_glyphs import glyphs
