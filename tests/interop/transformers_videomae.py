"""transformers' VideoMAEForPreTraining with random weights, as the independent implementation."""

import re
from collections.abc import Sequence

import numpy as np
import torch
from transformers import VideoMAEConfig, VideoMAEForPreTraining

from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from maskmim.interop import huggingface
from maskmim.interop.layout import Entry, params_of, shapes_of
from maskmim.models.videomae import vit_videomae
from maskmim.types import Net, Spec, Tree

SIZE, PATCH, GRID = (4, 24, 24), (2, 4, 4), (2, 6, 6)
ENCODER, DECODER = (2, 24, 3, 72), (2, 16, 2, 40)
EPS = 1e-6
# Patterns of names in ViTMAEForPreTraining -> the same parts in VideoMAEForPreTraining.
RENAMED = (
    (r"^vit\.", "videomae."),
    (r"^decoder\.mask_token", "mask_token"),
    (r"^decoder\.decoder_embed\.", "encoder_to_decoder."),
    (r"^decoder\.decoder_norm\.", "decoder.norm."),
    (r"^decoder\.decoder_pred\.", "decoder.head."),
)


def peer(seed: int = 0) -> VideoMAEForPreTraining:
    """Build the peer with every parameter random.

    transformers fixes the epsilon of the decoder's norm at 1e-5; the official code has 1e-6.
    """
    depth, width, heads, hidden = ENCODER
    config = VideoMAEConfig(
        image_size=SIZE[1],
        patch_size=PATCH[1],
        num_frames=SIZE[0],
        tubelet_size=PATCH[0],
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=hidden,
        layer_norm_eps=EPS,
        use_mean_pooling=False,
        decoder_num_hidden_layers=DECODER[0],
        decoder_hidden_size=DECODER[1],
        decoder_num_attention_heads=DECODER[2],
        decoder_intermediate_size=DECODER[3],
    )
    model = VideoMAEForPreTraining(config).eval()
    model.decoder.norm.eps = EPS
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            norm = "norm" in name and name.endswith("weight")
            parameter.copy_(1.0 + 0.2 * noise if norm else 0.2 * noise)
    return model


def our_net() -> Net:
    """Build the same model in maskmim."""
    spec = Spec(SIZE, 3, IMAGENET_MEAN, IMAGENET_STD, stream="video")
    encoder, decoder = ("x".join(map(str, size)) for size in (ENCODER, DECODER))
    return vit_videomae(spec, variant=encoder, patch=PATCH, decoder=decoder, norm_eps=EPS)


def layout() -> Sequence[Entry]:
    """Return the entries of their arrays; frames and rows of their kernel are merged."""
    rows = (PATCH[0] * PATCH[1], PATCH[2], 3)
    entries = [
        *huggingface.LAYOUT.encoder(rows, ENCODER[0]),
        *huggingface.LAYOUT.decoder(DECODER[0]),
    ]
    absent = ("vit.embeddings.cls_token", "decoder.decoder_embed.bias")
    return [e._replace(name=renamed(e.name)) for e in entries if e.name not in absent]


def renamed(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def as_ours(arrays: dict[str, torch.Tensor]) -> Tree:
    """Convert their weights or gradients to our tree; biases of keys, which they lack, are 0."""
    flat = {name: array.detach().numpy() for name, array in arrays.items()}
    for name in list(flat):
        if name.endswith(".attention.query.bias"):
            flat[name.replace("query", "key")] = np.zeros_like(flat[name])
        if flat[name].ndim == 5:  # a kernel [out, channels, frames, rows, columns]
            flat[name] = flat[name].reshape(*flat[name].shape[:2], -1, PATCH[2])
    return params_of(layout(), shapes_of(our_net()), flat)
