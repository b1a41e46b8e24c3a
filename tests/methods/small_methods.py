"""Small methods that learn from labels and from text, and batches for them."""

from functools import partial

import numpy as np

from maskmim.data.passages import as_indices, passages, random_window
from maskmim.masks.roles import everything, in_place
from maskmim.masks.uniform import random
from maskmim.methods.masked import masked
from maskmim.models.classifiers import linear
from maskmim.models.encoder_only import vit_encoder
from maskmim.models.text_net import text_in_place, text_mae
from maskmim.objectives import classify, label
from maskmim.targets.tokens import tokens
from maskmim.types import Method, Spec
from tests.tiny import SPEC, pictures

CLASSES = 4
TEXT = Spec((24,), 1, (), (), "text", "uint8", classes=256)
DECODER = {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 2}


def supervised(classes: int = CLASSES, **changes) -> Method:
    """A ViT that learns the labels 'coarse' of whole pictures."""
    return masked(
        SPEC._replace(labels={"coarse": CLASSES}),
        model=partial(vit_encoder, variant="nano", patch=(8, 8)),
        mask=everything,
        objectives={"label": partial(label, labels="coarse", **changes)},
        teachers={},
        calls={"classify": partial(linear, classes=classes)},
    )


def labelled(examples: int, seed: int = 0) -> dict:
    """Pictures of which the label is told by the brightness, every fourth without a label."""
    images = pictures(examples, seed)
    labels = (np.arange(examples) % CLASSES).astype(np.int32)
    images = (images // 4 + 48 * labels[:, None, None, None]).astype(np.uint8)
    labels[::4] = np.where(np.arange(len(labels[::4])) % 2, labels[::4], -1)
    return {"image": images, "label": {"coarse": labels}}


def text(kind: str = "in_place", spec: Spec = TEXT, **changes) -> Method:
    """A transformer that predicts hidden bytes: 'in_place', 'untied' or 'mae'."""
    sampler = partial(random, ratio=0.25)
    models = {
        "in_place": partial(text_in_place, variant="nano"),
        "untied": partial(text_in_place, variant="nano", tied=False),
        "mae": partial(text_mae, variant="nano", **DECODER),
    }
    return masked(
        spec,
        model=partial(models[kind], **changes),
        mask=sampler if kind == "mae" else partial(in_place, sampler=sampler),
        objectives={"tokens": partial(classify, head="tokens", target=tokens)},
        teachers={},
    )


def windows(examples: int, seed: int = 0, size: int = TEXT.size[0]) -> dict:
    """Random windows of the reference of Python, through the bricks of the data section."""
    records, rng = passages(split="train", length=64), np.random.default_rng(seed)
    chosen = rng.choice(len(records), examples, replace=False)
    sequences = [as_indices(rng, records[int(index)].encoded) for index in chosen]
    return {"text": np.stack([random_window(rng, each, size=(size,)) for each in sequences])}
