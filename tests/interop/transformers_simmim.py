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

from maskmim.interop.blocks import BlockNames, block_entries, stack_entries
from maskmim.interop.layout import (
    Entry,
    convolution,
    kernel,
    norm,
    params_of,
    shapes_of,
    tensor,
    vector,
)
from maskmim.models.in_place import vit_in_place
from maskmim.models.relative_vit import relative_vit_in_place
from maskmim.models.swin import swin_in_place
from maskmim.types import Net, Spec, Tree

EPSILON = 1e-6
DEPTH, WIDTH, HEADS = 2, 16, 2
# Grids of 6 x 6, with shifted windows, and of 3 x 3, which one window covers.
SWIN_DEPTHS, SWIN_HEADS, WINDOW = (4, 2), (1, 2), 3
# All three peers name the parts of a block alike.
BLOCK = BlockNames(
    norm1="layernorm_before",
    qkv=tuple(f"attention.{role}_proj" for role in "qkv"),
    out="attention.o_proj",
    norm2="layernorm_after",
    up="mlp.fc1",
    down="mlp.fc2",
)
# Inputs are normalised already.
SPEC = Spec((24, 24), 3, (0.0,) * 3, (1.0,) * 3)


class Case(NamedTuple):
    """A peer and the same network here.

    unit:  pixels of a token of our mask. patch: of a token of theirs.
    adapt: (their arrays, whether they are gradients) -> arrays under the entries' names.
    """

    peer: Callable[[], nn.Module]
    net: Callable[[], Net]
    entries: list[Entry]
    unit: int
    patch: int
    adapt: Callable[[Mapping[str, np.ndarray], bool], Mapping[str, np.ndarray]]

    def params(self, arrays: Mapping[str, np.ndarray], gradients: bool = False) -> Tree:
        """Convert their weights, or gradients, to our parameters."""
        return params_of(self.entries, shapes_of(self.net()), self.adapt(arrays, gradients))


class BeitForSimMIM(nn.Module):
    """SimMIM by its authors' formula on BEiT's encoder, which transformers does not have."""

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
        pictures = self.decoder(square)
        hidden = mask.reshape(-1, side, side)
        hidden = hidden.repeat_interleave(self.stride, 1).repeat_interleave(self.stride, 2)
        errors = (pixels - pictures).abs() * hidden[:, None]
        return features[:, 1:], pictures, errors.sum() / (hidden.sum() + 1e-5) / 3


def randomised(model: nn.Module) -> nn.Module:
    """Fill every parameter with random numbers, biases, norms and position biases too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = "norm" in name and name.endswith("weight")
            plain = noise if "table" in name else 0.2 * noise
            parameter.copy_(1.0 + plain if is_norm or "lambda" in name else plain)
    return model.eval()


def outputs_of(model: nn.Module, pixels: torch.Tensor, mask: torch.Tensor):
    """Return (features, reconstruction, loss) of any of the peers."""
    if isinstance(model, BeitForSimMIM):
        return model(pixels, mask)
    encoded = []
    encoder = model.vit if hasattr(model, "vit") else model.swin
    hook = encoder.register_forward_hook(lambda *call: encoded.append(call[-1].last_hidden_state))
    output = model(pixels, bool_masked_pos=mask)
    hook.remove()
    prefix = 1 if hasattr(model, "vit") else 0
    return encoded[0][:, prefix:], output.reconstruction, output.loss


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
    """Return the entries of the head.

    Their convolution has its values by channel, row, column; ours are by row, column, channel.
    """

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


def slice_of(name: str, path: str, index: tuple = ()) -> Entry:
    """Return the entry of an array that equals a slice of ours."""
    return Entry(name, path, index, lambda a: a, lambda a, shape: a.reshape(shape))


def ends(part: str) -> list[Entry]:
    """Return the entries before the first and after the last block."""
    projection = f"{part}.embeddings.patch_embeddings.projection"
    return [
        tensor(f"{part}.embeddings.mask_token", "encoder/mask_token"),
        convolution(f"{projection}.weight", "encoder/embed/kernel", (4, 4, 3)),
        vector(f"{projection}.bias", "encoder/embed/bias"),
        *norm(f"{part}.layernorm", "encoder/norm"),
    ]


def vit_entries() -> list[Entry]:
    return [
        *ends("vit"),
        tensor("vit.embeddings.cls_token", "encoder/class_token"),
        slice_of("vit.embeddings.position_embeddings", "encoder/positions"),
        *stack_entries(BLOCK, "vit.layers", "encoder/stack/blocks", DEPTH),
        *head(4),
    ]


def beit_entries() -> list[Entry]:
    table = "vit.shared_position_bias.relative_position_bias_table"
    factors = [
        vector(
            f"vit.layers.{layer}.lambda_{branch}", f"encoder/blocks/scale{branch}/scale", (layer,)
        )
        for layer in range(DEPTH)
        for branch in (1, 2)
    ]
    return [
        *ends("vit"),
        tensor("vit.embeddings.cls_token", "encoder/class_token"),
        slice_of(table, "encoder/relative_bias"),
        *stack_entries(BLOCK, "vit.layers", "encoder/blocks", DEPTH),
        *factors,
        *head(4),
    ]


def swin_entries() -> list[Entry]:
    entries = [*ends("swin"), *head(8), *norm("swin.embeddings.norm", "encoder/embed_norm")]
    for stage, depth in enumerate(SWIN_DEPTHS):
        stage_name, stage_path = f"swin.encoder.layers.{stage}", f"encoder/stage{stage}_blocks"
        for block in range(depth):
            pair, kind = block // 2, ("plain", "shifted")[block % 2]
            name, path = f"{stage_name}.blocks.{block}", f"{stage_path}/{kind}"
            table = f"{name}.attention.relative_position_bias.relative_position_bias_table"
            entries += block_entries(BLOCK, name, path, pair)
            entries.append(slice_of(table, f"{path}/relative_bias", (pair,)))
        if stage + 1 < len(SWIN_DEPTHS):
            merge, below = f"encoder/merge{stage}", f"{stage_name}.downsample"
            entries.append(kernel(f"{below}.reduction.weight", f"{merge}/reduction/kernel"))
            entries += norm(f"{below}.norm", f"{merge}/norm")
    return entries


def add_class_position(arrays: Mapping[str, np.ndarray], gradients: bool) -> dict:
    """Add the class token's position to it; the sum is our class token, with the same gradient."""
    names = "vit.embeddings.cls_token", "vit.embeddings.position_embeddings"
    token, positions = arrays[names[0]], arrays[names[1]]
    first = token if gradients else token + positions[:, :1]
    return {**arrays, names[0]: first, names[1]: positions[0, 1:]}


def add_key_bias(arrays: Mapping[str, np.ndarray], gradients: bool) -> dict:
    """Add a bias of 0 to BEiT's keys; its gradient is 0, as the softmax cancels it."""
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
        adapt=lambda arrays, gradients: arrays,
    ),
    "vit": Case(
        vit_peer,
        lambda **changes: vit_in_place(SPEC, **_VIT, **changes),
        vit_entries(),
        unit=4,
        patch=4,
        adapt=add_class_position,
    ),
    "relative vit": Case(
        beit_peer,
        lambda **changes: relative_vit_in_place(SPEC, **_VIT, **changes),
        beit_entries(),
        unit=4,
        patch=4,
        adapt=add_key_bias,
    ),
}
