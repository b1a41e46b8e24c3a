"""Writes tests/golden/data2vec2/values.npz with the official data2vec 2.0, run once on a tiny case.

  git clone https://github.com/facebookresearch/fairseq   # 3d262bb25690e4eb2e7d3c1309b1e9c406ca4b99
  python -m tests.golden.data2vec2.record fairseq

Runs Data2VecMultiModel of examples/data2vec/models/data2vec2.py with ImageEncoder, Decoder2d and
AltBlock, on a CPU in float32, with the settings of config/v2/base_images_only_task.yaml at the
case's sizes, its weights, pictures and masks, and no noise at hidden tokens. Stores the decoder's
predictions, the targets of all tokens, both losses as model_criterion.py adds them up, divided by
the number of hidden tokens, and the gradients of their sum, one after another in the order of the
case's layout. Of fairseq only the files named are run: what they import (its registry and
dataclasses, padding, transposition, omegaconf, audio and text) is stood in for here, and the EMA is
a module with weights of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskmim.models.layers.posembed import sincos
from tests.golden.data2vec2 import case
from tests.torchvision_operators import DefineBeforeImport


class Average:
    """fairseq's EMAModule: a model, and nothing to log."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model, self.fp32_params, self.logs = model, {}, {}

    def get_decay(self) -> float:
        return 1.0


class Transposed(torch.nn.Module):
    """fairseq's TransposeLast."""

    def __init__(self, tranpose_dim: int = -2) -> None:
        super().__init__()
        self.tranpose_dim = tranpose_dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(self.tranpose_dim, -1)


def module(name: str, **contents: Any) -> None:
    """Puts a module into sys.modules."""
    made = types.ModuleType(name)
    made.__dict__.update(contents)
    sys.modules[name] = made


def stand_in(folder: Path) -> None:
    """Makes the modules that the official files import."""
    kept = lambda *arguments, **options: torch.nn.Identity()  # noqa: E731, odd sides pad evenly
    module("omegaconf", II=lambda name: None, MISSING="???")
    module("fairseq")
    module("fairseq.tasks", FairseqTask=object)
    module("fairseq.utils", index_put=None)
    module("fairseq.data")
    module("fairseq.data.data_utils", compute_mask_indices=None)
    module("fairseq.dataclass", FairseqDataclass=object)
    module("fairseq.models", BaseFairseqModel=torch.nn.Module, register_model=passed)
    module("fairseq.modules.transformer_sentence_encoder", init_bert_params=lambda layer: None)
    module(
        "fairseq.modules",
        LayerNorm=torch.nn.LayerNorm,
        SamePad=kept,
        SamePad2d=kept,
        TransposeLast=Transposed,
        GradMultiply=None,
        EMAModule=lambda model, *rest, **options: Average(model),
        EMAModuleConfig=lambda **options: None,
    )
    sys.meta_path.insert(0, DefineBeforeImport())
    vit = importlib.import_module("timm.models.vision_transformer")
    module("timm.models.layers", to_2tuple=lambda value: (value, value))
    models = "examples.data2vec.models"
    for name in ("examples", "examples.data2vec", models, f"{models}.modalities"):
        module(name, __path__=[str(folder / Path(*name.split(".")))])
    module("examples.data2vec.data", __path__=[str(folder / "examples/data2vec/data")])
    table = lambda width, side, cls_token: sincos(width, (side, side))  # noqa: E731
    module(f"{models}.mae", get_2d_sincos_pos_embed=table, PatchEmbed=vit.PatchEmbed)
    config = dataclasses.make_dataclass("Other", [], unsafe_hash=True)
    module(f"{models}.modalities.audio", D2vAudioConfig=config, AudioEncoder=None)
    module(f"{models}.modalities.text", D2vTextConfig=config, TextEncoder=None)


def passed(*arguments: Any, **options: Any) -> Any:
    """A decorator that does nothing."""
    return lambda decorated: decorated


def official(folder: str) -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    stand_in(Path(folder))
    # Defaults of dataclasses must have a hash since Python 3.11.
    dataclass = dataclasses.dataclass
    dataclasses.dataclass = functools.partial(dataclass, unsafe_hash=True)
    models = importlib.import_module("examples.data2vec.models.data2vec2")
    images = importlib.import_module("examples.data2vec.models.modalities.images")
    modules = importlib.import_module("examples.data2vec.models.modalities.modules")
    dataclasses.dataclass = dataclass
    modality = sys.modules["examples.data2vec.data.modality"].Modality.IMAGE
    decoder = modules.D2vDecoderConfig(
        decoder_dim=case.WIDTH,
        decoder_groups=case.GROUPS,
        decoder_kernel=case.SIDE,
        decoder_layers=case.LAYERS,
        input_dropout=0,
    )
    image = images.D2vImageConfig(
        input_size=case.IMAGE,
        patch_size=case.PATCH,
        embed_dim=case.WIDTH,
        prenet_depth=case.PRENET,
        mask_noise_std=0.0,
        inverse_mask=True,
        ema_local_encoder=True,
        num_extra_tokens=1,
        init_extra_token_zero=False,
        num_alibi_heads=case.HEADS,
        model_depth=case.DEPTH,
        decoder=decoder,
    )
    config = models.Data2VecMultiConfig(
        depth=case.DEPTH,
        num_heads=case.HEADS,
        embed_dim=case.WIDTH,
        encoder_dropout=0,
        post_mlp_drop=0,
        attention_dropout=0,
        activation_dropout=0,
        average_top_k_layers=case.TOP,
        clone_batch=case.MASKS,
        instance_norm_target_layer=True,
        layer_norm_targets=True,
        ema_encoder_only=False,
        modalities=types.SimpleNamespace(image=image),
        supported_modality=modality,
        cls_loss=case.CLASS,
    )
    model = models.Data2VecMultiModel(config, [modality])
    fill(model, "student")
    fill(model.ema.model, "average")
    return model


def fill(model: torch.nn.Module, of: str) -> None:
    """Gives a model the case's weights."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith("positions"):
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape), of=of)))


def main(folder: str) -> None:
    """Runs a step and stores what comes out."""
    model = official(folder).train()
    made: dict[str, torch.Tensor] = {}
    decoder, targets = model.modality_encoders["IMAGE"].decoder, model.make_targets
    decoder.register_forward_hook(lambda *given: made.update(predictions=given[-1]))
    model.make_targets = lambda *given: made.setdefault("targets", targets(*given))
    hidden = torch.from_numpy(case.hidden().reshape(case.EXAMPLES * case.MASKS, -1).copy())
    result = model(torch.from_numpy(case.pictures()), precomputed_mask=hidden.float())
    losses = {name: value.sum() / result["sample_size"] for name, value in result["losses"].items()}
    sum(losses.values()).backward()
    learnt = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    np.savez_compressed(
        case.GOLDEN,
        predictions=made["predictions"].detach().numpy(),
        targets=made["targets"].numpy(),
        features_loss=np.float32(losses["IMAGE_regression"].item()),
        class_loss=np.float32(losses["cls"].item()),
        gradients=np.concatenate([learnt[name].reshape(-1) for name in names]),
    )
    print({name: value.item() for name, value in losses.items()}, case.GOLDEN.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
