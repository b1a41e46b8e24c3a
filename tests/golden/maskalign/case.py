"""A tiny MaskAlign with given weights, pictures and noise, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from maskmim.interop.layout import Entry
from maskmim.interop.mae_official import LAYOUT
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 16, 4, 3
STUDENT = (3, 8, 2)  # depth, width, heads
TEACHER = (3, 12, 3)
RATIO = 0.75
LAYERS = (2, 3)  # of the teacher, from 1: the last two


def pictures() -> np.ndarray:
    """Pictures f32[B, H, W, 3] in [0, 1]."""
    return np.random.RandomState(0).random_sample((EXAMPLES, IMAGE, IMAGE, 3)).astype(np.float32)


def noise() -> np.ndarray:
    """What orders the tokens in place of a draw: f32[B, N]; the smallest values are visible."""
    length = (IMAGE // PATCH) ** 2
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(length) for _ in range(EXAMPLES)]).astype(np.float32) / length


def encoder() -> Sequence[Entry]:
    """Official names of the student's encoder and ours; its last norm has no part in the loss."""
    entries = LAYOUT.encoder((PATCH, PATCH, 3), STUDENT[0])
    return [entry for entry in entries if not entry.name.startswith("norm.")]


def clip() -> torch.nn.Module:
    """The teacher, a CLIPVisionModel, with the weights of its names."""
    from transformers import CLIPVisionConfig, CLIPVisionModel  # after torchvision is mended

    config = CLIPVisionConfig(
        hidden_size=TEACHER[1],
        intermediate_size=4 * TEACHER[1],
        num_hidden_layers=TEACHER[0],
        num_attention_heads=TEACHER[2],
        image_size=IMAGE,
        patch_size=PATCH,
        attn_implementation="eager",
    )
    model = CLIPVisionModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            shape = tuple(parameter.shape)
            parameter.copy_(torch.from_numpy(large(f"teacher.{name}", shape, spread=0.25)))
    return model
