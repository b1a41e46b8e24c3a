"""Loading trained weights for use: the function that users call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from maskmim.inference.file_source import IS_SAID, Said, of_file
from maskmim.inference.loaded import InferenceError
from maskmim.inference.model import BATCH_SIZE, Model
from maskmim.inference.run_source import of_run, run_of


def load(
    source: str | os.PathLike,
    *,
    size: int | Sequence[int] | None = None,
    batch_size: int = BATCH_SIZE,
    crop: bool = True,
    heads: int | None = None,
    decoder_heads: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Model:
    """Load trained weights, ready to encode, to attend and to reconstruct.

    source:     a work directory (its newest sound checkpoint), one checkpoint of it
                (runs/a/checkpoints/1376), a safetensors file of transformers (ViTMAE, ViT, DINOv2),
                timm (ViT) or the official MAE, or a folder with one, as save_pretrained or our
                export writes it.
    size:       of the inputs, a side or (height, width), (frames, height, width), (time, mel); None
                for that of the weights. Positions are resized, which a line on stderr says once.
    batch_size: the largest batch that is computed at a time.
    crop:       crop as the run's evaluations do, pictures to the centre (seven eighths of a side by
                default); False resizes whole pictures, and takes arrays of the size as they are.
    heads, decoder_heads: attention heads of a file whose config.json is not beside it; by default
                those that are usual for its width, and MAE's 16.
    mean, std:  by which the inputs of a file are normalised, per channel; by default those of the
                JSON files beside it, or ImageNet's.

    Nothing in the source is changed, and networks compute in float32 on a CPU.
    Raises a UserError (InferenceError, ConfigError, CheckpointError, WeightsError) that names the
    source and what to do.
    """
    if not isinstance(source, str | os.PathLike) or not str(source):
        raise InferenceError(
            f"load({source!r}): give the path of a work directory, a checkpoint or a weights file"
        )
    path, said = Path(source).expanduser(), Said(heads, decoder_heads, mean, std)
    if not path.exists():
        raise InferenceError(
            f"there is nothing at {str(source)!r}: give a work directory, one of its checkpoints "
            "(runs/a/checkpoints/1376), a safetensors file or a folder with one"
        )
    run = run_of(path) if path.is_dir() else None
    if run and any(value is not None for value in said):
        raise InferenceError(f"{source} is a run, whose config says all of it: {IS_SAID}")
    loaded = of_run(*run) if run else of_file(str(source), said)
    model = Model(loaded, batch_size=batch_size, crop=crop)
    return model if size is None else model.at_size(size)
