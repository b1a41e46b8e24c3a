"""MAE's network, encoder and decoder, as transformers' ViTMAEForPreTraining."""

from __future__ import annotations

import math
from typing import Any

from maskmim.exports.counterpart import Counterpart
from maskmim.exports.encoders import Vit, one_or_pair
from maskmim.exports.subject import Subject
from maskmim.interop import huggingface

BRICK = "maskmim.models.masked_vit.vit_mae"
NORMALISED = "maskmim.targets.pixels.normalised_patches"
TARGETS = (NORMALISED, "maskmim.targets.pixels.patches")
LOAD = """from transformers import ViTMAEForPreTraining

model = ViTMAEForPreTraining.from_pretrained(FOLDER).eval()
prediction = model(pixel_values=images).logits  # of random masks; model.vit has the encoder"""


def vit_mae(subject: Subject, encoder: Vit) -> Counterpart | None:
    """Return the network with its decoder; None where transformers' ViTMAE is another one."""
    targets = [
        term.target.brick
        for term in subject.config.objectives.values()
        if "target" in term and term.target is not None and "head" in term and term.head == "pixels"
    ]
    settings = subject.config.model
    rows, columns, channels = encoder.patch if len(encoder.patch) == 3 else (0, 1, 0)
    values = subject.params.get("decoder", {}).get("head_pixels", {}).get("kernel")
    fits = (
        subject.brick == BRICK
        and set(subject.params) == {"encoder", "decoder"}
        and subject.spec.stream == "image"
        and settings.positions in ("sincos", "learned")
        and encoder.class_token
        and not encoder.registers
        and "mask_token" not in subject.params["encoder"]
        and settings.decoder_positions == "sincos"
        and tuple(settings.heads) == ("pixels",)
        and values is not None
        and values.shape[-1] == rows * columns * channels
        and rows == columns
        and len(targets) == 1
        and targets[0] in TARGETS
    )
    if not fits:
        return None
    arrays = huggingface.export(subject.net, subject.params)
    remark = (
        "ViTMAEModel hides patches at random, features too: for features of whole pictures, "
        "export again with --encoder-only, or give from_pretrained mask_ratio=0.0, and the model "
        "noise=torch.arange(N).expand(B, N) for B images of N patches, which keeps their order."
    )
    config = _config(subject, encoder, normalised=targets[0] == NORMALISED)
    return Counterpart("ViTMAEForPreTraining", config, arrays, LOAD, (remark,))


def _config(subject: Subject, encoder: Vit, *, normalised: bool) -> dict[str, Any]:
    settings, mask = subject.config.model, subject.config.mask
    blocks = subject.params["decoder"]["stack"]["blocks"]
    return {
        "architectures": ["ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        "dtype": "float32",
        "image_size": one_or_pair(encoder.size),
        "patch_size": encoder.patch[0],
        "num_channels": encoder.patch[-1],
        "hidden_act": "gelu",
        "layer_norm_eps": encoder.epsilon,
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.heads,
        "intermediate_size": encoder.hidden,
        "qkv_bias": True,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "decoder_hidden_size": settings.decoder_width,
        "decoder_num_hidden_layers": settings.decoder_depth,
        "decoder_num_attention_heads": settings.decoder_heads,
        "decoder_intermediate_size": math.prod(blocks["mlp"]["up"]["kernel"].shape[2:]),
        "mask_ratio": float(mask.ratio) if "ratio" in mask else 0.75,
        "norm_pix_loss": normalised,
    }
