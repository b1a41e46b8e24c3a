"""transformers' ViTMAEForPreTraining with random weights, as the independent implementation."""

from typing import NamedTuple

import numpy as np
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

from maskmim.models.masked_vit import vit_mae
from maskmim.types import Net, Spec


class Case(NamedTuple):
    """Sizes of a masked autoencoder: (depth, width, heads, hidden) of encoder and decoder."""

    name: str
    image: tuple[int, int] = (32, 32)
    patch: int = 8
    channels: int = 3
    encoder: tuple[int, int, int, int] = (2, 32, 2, 96)
    decoder: tuple[int, int, int] = (1, 16, 2)
    eps: float = 1e-6
    normalise: bool = True

    @property
    def grid(self) -> tuple[int, int]:
        return self.image[0] // self.patch, self.image[1] // self.patch


def peer(case: Case, seed: int = 0) -> ViTMAEForPreTraining:
    """Build the peer with every parameter random and with position tables of our grid.

    transformers 5.23 leaves the tables of a model made from a config at zero, and has no table for
    a grid that is not square, so its function for tables is called here.
    """
    depth, width, heads, hidden = case.encoder
    decoder_depth, decoder_width, decoder_heads = case.decoder
    config = ViTMAEConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=hidden,
        layer_norm_eps=case.eps,
        image_size=case.image if case.image[0] != case.image[1] else case.image[0],
        patch_size=case.patch,
        num_channels=case.channels,
        decoder_num_attention_heads=decoder_heads,
        decoder_hidden_size=decoder_width,
        decoder_num_hidden_layers=decoder_depth,
        decoder_intermediate_size=4 * decoder_width,
        norm_pix_loss=case.normalise,
    )
    model = ViTMAEForPreTraining(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator)
                norm = "norm" in name and name.endswith("weight")
                parameter.copy_(1.0 + 0.2 * noise if norm else 0.1 * noise)
        model.vit.embeddings.position_embeddings.copy_(their_table(width, case.grid))
        model.decoder.decoder_pos_embed.copy_(their_table(decoder_width, case.grid))
    return model


def their_table(width: int, grid: tuple[int, int]) -> torch.Tensor:
    """Return their position table [1 + N, width] with its halves swapped, as rows come first."""
    table = build_2d_sinusoidal_position_embedding(*grid, embed_dim=width, cls_token=True)
    return torch.roll(table, width // 2, dims=1)


def state_of(model: ViTMAEForPreTraining) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def our_net(case: Case, **changes) -> Net:
    """Build the same model in maskmim, for inputs that are already normalised."""
    spec = Spec(case.image, case.channels, (0.0,) * case.channels, (1.0,) * case.channels)
    settings = {
        "variant": "x".join(map(str, case.encoder)),
        "patch": (case.patch, case.patch),
        "decoder_depth": case.decoder[0],
        "decoder_width": case.decoder[1],
        "decoder_heads": case.decoder[2],
        "norm_eps": case.eps,
    }
    return vit_mae(spec, **{**settings, **changes})


def loss_of(model: ViTMAEForPreTraining, pixels: torch.Tensor, noise: torch.Tensor):
    """Return (features, predictions, loss) of the peer.

    By its own forward on square pictures. On others it refuses to make targets unless positions are
    interpolated, so its parts are called and its formula is repeated.
    """
    encoded = model.vit(pixels, noise=noise)
    if pixels.shape[2] == pixels.shape[3]:
        output = model(pixels, noise=noise)
        return encoded.last_hidden_state, output.logits, output.loss
    logits = model.decoder(encoded.last_hidden_state, encoded.ids_restore).logits
    target = model.patchify(pixels, interpolate_pos_encoding=True)
    if model.config.norm_pix_loss:
        variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
        target = (target - mean) / torch.sqrt(variance + 1e-6)
    per_token = ((logits - target) ** 2).mean(dim=-1)
    loss = (per_token * encoded.mask).sum() / encoded.mask.sum()
    return encoded.last_hidden_state, logits, loss
