"""The libraries that exported folders are for, loaded offline."""

import json
import os
from pathlib import Path

import numpy as np
import torch

os.environ["HF_HUB_OFFLINE"] = "1"


def channels_first(inputs: np.ndarray) -> torch.Tensor:
    """Return pictures or clips [B, ..., H, W, C] as torch has them: [B, ..., C, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(inputs, -1, -3)))


def tokens_of(output: torch.Tensor) -> np.ndarray:
    """Return [B, n, D], also of feature maps [B, D, rows, columns]."""
    if output.ndim == 4:
        output = output.flatten(2).transpose(1, 2)
    return output.detach().numpy()


def strictly(folder: Path, **options):
    """Load a folder with the class that its config names; nothing missing, nothing unexpected."""
    import transformers

    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    load = getattr(transformers, name).from_pretrained
    model, info = load(folder, output_loading_info=True, local_files_only=True, **options)
    assert not any(info.values()), {key: value for key, value in info.items() if value}
    return model.eval()
