"""How pictures become inputs, as evaluation makes them, in the words of other libraries."""

from __future__ import annotations

from typing import Any

from maskmim.config.bricks import public_path, resolve
from maskmim.exports.subject import Subject

PICTURES = "maskmim.data.transforms.resize_center_crop"
CLIPS = "maskmim.data.clip_transforms.centre_crop"
BICUBIC = 3
REMARK = (
    "There is no preprocessor_config.json: transformers has no processor for the evaluation "
    "transform of this run; normalise by input.mean and input.std of the config."
)


def crop_fraction(subject: Subject) -> float | None:
    """Return the share of the picture that evaluation crops; None for another transform."""
    section = subject.config.evals.transform
    known = public_path(resolve(section.brick)) in (PICTURES, CLIPS)
    return float(section.crop_fraction) if known and "crop_fraction" in section else None


def image_processor(subject: Subject) -> dict[str, Any] | None:
    """Return the content of preprocessor_config.json; None where no processor does the same.

    For pictures and clips u8 of three channels and square size, whose short side is resized and
    whose centre is cropped.
    """
    spec, fraction = subject.spec, crop_fraction(subject)
    *_, height, width = spec.size
    if fraction is None or spec.dtype != "uint8" or spec.channels != 3 or height != width:
        return None
    kind = "VideoMAEImageProcessor" if len(spec.size) == 3 else "BitImageProcessor"
    return {
        "image_processor_type": kind,
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": round(height / fraction)},
        "resample": BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }
