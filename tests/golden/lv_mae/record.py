"""Writes tests/golden/lv_mae/values.npz with the official LV-MAE, run once on a tiny case.

  git clone https://github.com/amazon-science/lv-mae   # 222d440b8d95a1b534b148c954cff182b494eef7
  python -m tests.golden.lv_mae.record lv-mae

Takes the sequences of tests/golden/lv_mae/case.py through CombinedData of data/CombinedData.py,
which normalises, masks and pads them, and through MaskedAutoencoderViT of models_mae.py, with the
case's weights and noise, on a CPU in float32. Stores of both kinds of masks which embeddings are
hidden, all predictions, the loss (squared error, or cosine) and all gradients.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from functools import partial
from importlib.machinery import ModuleSpec

import numpy as np
import torch

from tests.golden.lv_mae import case
from tests.torchvision_operators import DefineBeforeImport


def official_model(models, loss: str) -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    model = models.MaskedAutoencoderViT(
        args=types.SimpleNamespace(num_patches=case.PLACES, cos_loss=loss == "cosine"),
        embed_dim=case.WIDTH,
        depth=case.ENCODER[0],
        num_heads=case.ENCODER[1],
        decoder_depth=case.DECODER[0],
        decoder_embed_dim=case.DECODER[1],
        decoder_num_heads=case.DECODER[2],
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model


def samples(data, redundant: bool) -> dict[str, torch.Tensor]:
    """What the official data set gives of the case's sequences, as a batch."""
    held = data.CombinedData.__new__(data.CombinedData)
    rows = [
        {"segment_paths": repr([(n, at) for at in range(len(one))]), "number_of_segments": len(one)}
        for n, one in enumerate(case.sequences())
    ]
    held.df = types.SimpleNamespace(iloc=rows)
    held.duration_min = held.duration_max = 5 * case.PLACES
    held.SEGMENT_LENGTH, held.max_len, held.mask_ratio = 5, case.PLACES, case.RATIO
    held.pad_token, held.importance_masking_strategy = torch.zeros(case.WIDTH), redundant
    torch.load = lambda place: {"embedding": torch.from_numpy(case.sequences()[place[0]][place[1]])}
    noise = iter(case.noise())
    torch.rand = lambda *shape, device: torch.from_numpy(next(noise))
    found = [held[n] for n in range(len(rows))]
    names = found[0].keys()
    return {name: torch.stack([torch.as_tensor(one[name]) for one in found]) for name in names}


def main(folder: str) -> None:
    """Runs both kinds of masks and stores what comes out."""
    np.float = float  # which numpy had when the code was written
    table_reader = importlib.util.module_from_spec(ModuleSpec("pandas", None))
    sys.modules["pandas"] = table_reader  # imported, and not needed here
    sys.meta_path.insert(0, DefineBeforeImport())
    sys.path.insert(0, folder)
    models, data = (importlib.import_module(name) for name in ("models_mae", "data.CombinedData"))
    found = {}
    for kind, loss in case.CASES.items():
        model, batch = official_model(models, loss), samples(data, kind == "redundant")
        value, predictions, mask = model(
            batch["masked_padded_embeddings"],
            batch["ids_restore"],
            batch["ids_shuffle"],
            batch["masked_length"],
            batch["normalized_stacked_embeddings"],
            batch["length"],
            batch["mask"],
            batch["attn_mask"],
        )
        value.backward()
        learnt = {name: p.grad.numpy() for name, p in model.named_parameters() if p.requires_grad}
        names = [entry.name for entry in case.layout()]
        if sorted(names) != sorted(learnt):
            raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
        found |= {
            f"{kind}_hidden": mask.numpy().astype(bool),
            f"{kind}_predictions": predictions.detach().numpy(),
            f"{kind}_loss": np.float32(value.item()),
            f"{kind}_gradients": np.concatenate([learnt[name].reshape(-1) for name in names]),
        }
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
