"""SimMIM on encoders of transformers with random weights, as independent implementations."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import (
    BeitConfig,
    BeitModel,
    SwinConfig,
    SwinForMaskedImageModeling,
    ViTConfig,
    ViTForMaskedImageModeling,
)

from maskmim.interop.layout import Entry, convolution, flat, kernel, params_of, same, shapes_of
from maskmim.models.in_place import vit_in_place
from maskmim.models.relative_vit import relative_vit_in_place
from maskmim.models.swin import swin_in_place
from maskmim.types import Net, Spec, Tree

EPSILON = 1e-6
DEPTH, WIDTH, HEADS = 2, 16, 2
# Grids of 6 x 6, with shifted windows, and of 3 x 3, which one window covers.
SWIN_DEPTHS, SWIN_HEADS, WINDOW = (4, 2), (1, 2), 3
# Inputs are normalised already.
SPEC = Spec((24, 24), 3, (0.0,) * 3, (1.0,) * 3)


class Case(NamedTuple):
    """A peer and the same network here.

    unit: pixels of a token of our mask. patch: of a token of theirs.
    tidy: their arrays and whether they are gradients -> arrays under the entries' names.
    """

    peer: Callable[[], nn.Module]
    net: Callable[[], Net]
    entries: list[Entry]
    unit: int
    patch: int
    tidy: Callable[[Mapping[str, np.ndarray], bool], Mapping[str, np.ndarray]]

    def params(self, arrays: Mapping[str, np.ndarray], gradients: bool = False) -> Tree:
        """Their weights, or gradients, as our parameters."""
        return params_of(self.entries, shapes_of(self.net()), self.tidy(arrays, gradients))


class BeitForSimMIM(nn.Module):
    """SimMIM as its authors wrote it down, on BEiT's encoder: they have none in transformers."""

    def __init__(self, config: BeitConfig, stride: int):
        super().__init__()
        self.vit = BeitModel(config, add_pooling_layer=False)
        convolution = nn.Conv2d(config.hidden_size, 3 * stride**2, 1)
        self.decoder = nn.Sequential(convolution, nn.PixelShuffle(stride))
        self.stride = stride

    def forward(self, pixels, mask):
        features = self.vit(pixels, bool_masked_pos=mask).last_hidden_state
        side = pixels.shape[-1] // self.stride
        square = features[:, 1:].transpose(1, 2).reshape(len(pixels), -1, side, side)
        drawn = self.decoder(square)
        hidden = mask.reshape(-1, side, side)
        hidden = hidden.repeat_interleave(self.stride, 1).repeat_interleave(self.stride, 2)
        errors = (pixels - drawn).abs() * hidden[:, None]
        return features[:, 1:], drawn, errors.sum() / (hidden.sum() + 1e-5) / 3


def randomised(model: nn.Module) -> nn.Module:
    """The model with every parameter random, biases, norms and position biases too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            norm = "norm" in name and name.endswith("weight")
            plain = noise if "table" in name else 0.2 * noise
            parameter.copy_(1.0 + plain if norm or "lambda" in name else plain)
    return model.eval()


def outputs_of(model: nn.Module, pixels: torch.Tensor, mask: torch.Tensor):
    """(features, reconstruction, loss) of any of the peers."""
    if isinstance(model, BeitForSimMIM):
        return model(pixels, mask)
    kept = []
    encoder = model.vit if hasattr(model, "vit") else model.swin
    hook = encoder.register_forward_hook(lambda *call: kept.append(call[-1].last_hidden_state))
    found = model(pixels, bool_masked_pos=mask)
    hook.remove()
    prefix = 1 if hasattr(model, "vit") else 0
    return kept[0][:, prefix:], found.reconstruction, found.loss


def vit_peer() -> nn.Module:
    config = ViTConfig(encoder_stride=4, **_common())
    return randomised(ViTForMaskedImageModeling(config))


def beit_peer() -> nn.Module:
    config = BeitConfig(
        use_shared_relative_position_bias=True,
        use_mask_token=True,
        use_mean_pooling=False,
        **_common(),
    )
    return randomised(BeitForSimMIM(config, 4))


def swin_peer() -> nn.Module:
    config = SwinConfig(
        image_size=SPEC.size[0],
        patch_size=4,
        embed_dim=8,
        depths=list(SWIN_DEPTHS),
        num_heads=list(SWIN_HEADS),
        window_size=WINDOW,
        encoder_stride=8,
    )
    return randomised(SwinForMaskedImageModeling(config))


def _common() -> dict:
    return {
        "image_size": SPEC.size[0],
        "patch_size": 4,
        "hidden_size": WIDTH,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "intermediate_size": 4 * WIDTH,
        "layer_norm_eps": EPSILON,
    }


def head(stride: int) -> list[Entry]:
    """Their convolution makes values by channel, row, column; ours come by row, column, channel."""

    def weight(a):
        return a.reshape(-1, stride, stride, 3).transpose(3, 1, 2, 0).reshape(-1, len(a), 1, 1)

    def ours(a, shape):
        return a.reshape(3, stride, stride, -1).transpose(3, 1, 2, 0).reshape(shape)

    def bias(a):
        return a.reshape(stride, stride, 3).transpose(2, 0, 1).reshape(-1)

    return [
        Entry("decoder.0.weight", "decoder/head_pixels/kernel", (), weight, ours),
        Entry("decoder.0.bias", "decoder/head_pixels/bias", (), bias, ours),
    ]


def block(there: str, here: str, layer: int) -> list[Entry]:
    """A transformer block; all three peers name its parts alike."""
    at = (layer,)
    found = []
    for name, path in (("before", "norm1"), ("after", "norm2")):
        found.append(flat(f"{there}.layernorm_{name}.weight", f"{here}/{path}/norm/scale", at))
        found.append(flat(f"{there}.layernorm_{name}.bias", f"{here}/{path}/norm/bias", at))
    for which, role in enumerate("qkv"):
        own, qkv = f"{there}.attention.{role}_proj", f"{here}/attention/qkv"
        found.append(kernel(f"{own}.weight", f"{qkv}/kernel", (layer, slice(None), which)))
        found.append(flat(f"{own}.bias", f"{qkv}/bias", (layer, which)))
    merge = f"{there}.attention.o_proj"
    found.append(kernel(f"{merge}.weight", f"{here}/attention/out/kernel", at, inputs=2))
    found.append(flat(f"{merge}.bias", f"{here}/attention/out/bias", at))
    for name, path in (("fc1", "up"), ("fc2", "down")):
        found.append(kernel(f"{there}.mlp.{name}.weight", f"{here}/mlp/{path}/kernel", at))
        found.append(flat(f"{there}.mlp.{name}.bias", f"{here}/mlp/{path}/bias", at))
    return found


def slice_of(name: str, path: str, index: tuple = ()) -> Entry:
    """An array that is a slice of ours as it is."""
    return Entry(name, path, index, lambda a: a, lambda a, shape: a.reshape(shape))


def ends(part: str, patch: int, norm: str) -> list[Entry]:
    """What stands before the first and behind the last block."""
    projection = f"{part}.embeddings.patch_embeddings.projection"
    return [
        same(f"{part}.embeddings.mask_token", "encoder/mask_token"),
        convolution(f"{projection}.weight", "encoder/embed/kernel", (patch, patch, 3)),
        flat(f"{projection}.bias", "encoder/embed/bias"),
        flat(f"{part}.layernorm.weight", f"encoder/{norm}/norm/scale"),
        flat(f"{part}.layernorm.bias", f"encoder/{norm}/norm/bias"),
    ]


def vit_entries() -> list[Entry]:
    blocks = []
    for layer in range(DEPTH):
        blocks += block(f"vit.layers.{layer}", "encoder/stack/blocks", layer)
    first = [
        same("vit.embeddings.cls_token", "encoder/class_token"),
        slice_of("vit.embeddings.position_embeddings", "encoder/positions"),
    ]
    return [*ends("vit", 4, "norm"), *first, *blocks, *head(4)]


def beit_entries() -> list[Entry]:
    table = "vit.shared_position_bias.relative_position_bias_table"
    first = [
        same("vit.embeddings.cls_token", "encoder/class_token"),
        slice_of(table, "encoder/relative_bias"),
    ]
    blocks = []
    for layer in range(DEPTH):
        name, here = f"vit.layers.{layer}", "encoder/blocks"
        blocks += block(name, here, layer)
        blocks += [flat(f"{name}.lambda_1", f"{here}/scale1/scale", (layer,))]
        blocks += [flat(f"{name}.lambda_2", f"{here}/scale2/scale", (layer,))]
    return [*ends("vit", 4, "norm"), *first, *blocks, *head(4)]


def swin_entries() -> list[Entry]:
    found = [*ends("swin", 4, "norm"), *head(8)]
    found.append(flat("swin.embeddings.norm.weight", "encoder/embed_norm/norm/scale"))
    found.append(flat("swin.embeddings.norm.bias", "encoder/embed_norm/norm/bias"))
    for stage, depth in enumerate(SWIN_DEPTHS):
        there, here = f"swin.encoder.layers.{stage}", f"encoder/stage{stage}_blocks"
        for place in range(depth):
            name, path = f"{there}.blocks.{place}", f"{here}/{('plain', 'shifted')[place % 2]}"
            table = f"{name}.attention.relative_position_bias.relative_position_bias_table"
            found += block(name, path, place // 2)
            found += [slice_of(table, f"{path}/relative_bias", (place // 2,))]
        if stage + 1 < len(SWIN_DEPTHS):
            merge, below = f"encoder/merge{stage}", f"{there}.downsample"
            found.append(kernel(f"{below}.reduction.weight", f"{merge}/reduction/kernel"))
            found.append(flat(f"{below}.norm.weight", f"{merge}/norm/norm/scale"))
            found.append(flat(f"{below}.norm.bias", f"{merge}/norm/norm/bias"))
    return found


def class_position_added(arrays: Mapping[str, np.ndarray], gradients: bool) -> dict:
    """transformers' class token has a position; ours is the sum, and has the gradient of either."""
    names = "vit.embeddings.cls_token", "vit.embeddings.position_embeddings"
    token, positions = arrays[names[0]], arrays[names[1]]
    first = token if gradients else token + positions[:, :1]
    return {**arrays, names[0]: first, names[1]: positions[0, 1:]}


def key_bias_added(arrays: Mapping[str, np.ndarray], gradients: bool) -> dict:
    """BEiT's keys have no bias; ours is 0, and has no gradient, as the softmax cannot see it."""
    keys = {f"vit.layers.{i}.attention.k_proj.bias": np.zeros(WIDTH) for i in range(DEPTH)}
    return {**arrays, **keys}


_VIT = {"variant": f"{DEPTH}x{WIDTH}x{HEADS}", "patch": (4, 4), "norm_eps": EPSILON}
_SWIN = "8x" + "x".join("-".join(map(str, part)) for part in (SWIN_DEPTHS, SWIN_HEADS))
CASES = {
    "swin": Case(
        swin_peer,
        lambda **changes: swin_in_place(
            SPEC, variant=_SWIN, patch=(4, 4), window=WINDOW, **changes
        ),
        swin_entries(),
        unit=8,
        patch=4,
        tidy=lambda arrays, gradients: arrays,
    ),
    "vit": Case(
        vit_peer,
        lambda **changes: vit_in_place(SPEC, **_VIT, **changes),
        vit_entries(),
        unit=4,
        patch=4,
        tidy=class_position_added,
    ),
    "relative vit": Case(
        beit_peer,
        lambda **changes: relative_vit_in_place(SPEC, **_VIT, **changes),
        beit_entries(),
        unit=4,
        patch=4,
        tidy=key_bias_added,
    ),
}
