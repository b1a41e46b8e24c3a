"""Equal weights: our spectrograms and our encoder equal those of transformers' AST."""

import jax
import numpy as np
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

from maskmim.data.spectrograms import first_stretch
from maskmim.data.tones import tones
from maskmim.interop.huggingface import LAYOUT, to_published_names
from maskmim.interop.layout import nest, params_of, shapes_of
from maskmim.models.masked_vit import vit_mae
from maskmim.tree_paths import named_leaves
from maskmim.types import Spec
from tests.tolerances import PARITY

MEAN, STD = -4.2677393, 4.5689974
SIZE, PATCH, DEPTH = (24, 8), 4, 2


def test_spectrograms_equal_the_feature_extractor():
    extract = ASTFeatureExtractor(mean=MEAN, std=STD)
    for index in range(4):
        sound = tones(count=4, seconds=0.5)[index].encoded
        values = extract(sound.samples, sampling_rate=sound.rate, return_tensors="np")
        theirs = values["input_values"][0]
        ours = first_stretch(np.random.default_rng(0), sound, (1024, 128))[..., 0]
        ours = (ours - MEAN) / (2 * STD)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= PARITY * np.abs(theirs).max()


def peer():
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=24,
        num_hidden_layers=DEPTH,
        num_attention_heads=2,
        intermediate_size=96,
        patch_size=PATCH,
        frequency_stride=PATCH,
        time_stride=PATCH,
        max_length=SIZE[0],
        num_mel_bins=SIZE[1],
    )
    model = ASTModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def our_params(net, model):
    """Convert AST's weights: its second token is our register; its patches are mel first."""
    arrays = to_published_names({name: p.detach().numpy() for name, p in model.named_parameters()})
    token = arrays.pop("vit.embeddings.distillation_token")
    table = arrays.pop("vit.embeddings.position_embeddings")[0]
    name = "vit.embeddings.patch_embeddings.projection.weight"
    arrays[name] = arrays[name].swapaxes(2, 3)
    arrays["vit.embeddings.cls_token"] = arrays["vit.embeddings.cls_token"] + table[0]
    grid = net.grids["audio"]
    shapes = {path: shape for path, shape in shapes_of(net).items() if path.startswith("encoder/")}
    adapted = {
        "encoder/registers": token + table[1],
        "encoder/positions": table[2:].reshape(*grid[::-1], -1).swapaxes(0, 1).reshape(-1, 24),
    }
    assert {path: array.shape for path, array in adapted.items()} == {
        path: shapes.pop(path) for path in adapted
    }
    params = params_of(LAYOUT.encoder((PATCH, PATCH, 1), DEPTH), shapes, arrays)
    return nest(dict(named_leaves(params)) | adapted)


def test_the_encoder_equals_theirs():
    model = peer()
    net = vit_mae(
        Spec(SIZE, 1, (0.0,), (1.0,), "audio", "float32"),
        variant=f"{DEPTH}x24x2",
        patch=(PATCH, PATCH),
        registers=1,
        positions="learned",
        decoder_depth=1,
        decoder_width=8,
        decoder_heads=1,
        norm_eps=1e-12,
    )
    sound = np.random.default_rng(0).normal(size=(2, *SIZE)).astype(np.float32)
    with torch.no_grad():
        theirs = model(torch.from_numpy(sound)).last_hidden_state.numpy()
    encode = jax.jit(lambda params, x: net.encode(params, x, None))
    encoded = encode(our_params(net, model), sound[..., None])
    rows = theirs[:, 2:].reshape(2, *net.grids["audio"][::-1], -1).swapaxes(1, 2)
    pairs = (encoded.prefix, theirs[:, :2]), (encoded.tokens, rows.reshape(2, -1, 24))
    for ours, expected in pairs:
        assert np.abs(ours - expected).max() <= PARITY * np.abs(expected).max()
