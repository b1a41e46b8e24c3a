"""MACRL: equal to transformers' ViTMAE twice and torch's contrast; ratios, bank, what learns."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from maskmim.config.load import load
from maskmim.interop import huggingface
from maskmim.losses.regression import absolute_error
from maskmim.masks.core import from_scores
from maskmim.masks.views import asymmetric
from maskmim.methods.views import masked_views
from maskmim.models.projectors import mlp
from maskmim.objectives import info_nce
from maskmim.objectives.matching import match
from maskmim.targets.pixels import patches
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Randomness, Spec, Variables
from tests.comparing import close
from tests.compiling import quick_jit
from tests.interop.transformers_mae import Case, our_net, peer, state_of

pytestmark = pytest.mark.full

CASE = Case("branches", image=(16, 16), patch=4, encoder=(2, 8, 2, 16), decoder=(1, 8, 2))
SPEC = Spec((16, 16), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32")
EXAMPLES, RATIOS, BANK, TEMPERATURE = 5, (0.75, 0.25), 7, 0.1
HIDDEN, VALUES = 12, 6
RANDOMNESS = Randomness.of(jax.random.key(0), EXAMPLES)


@cache
def given():
    """Views f32[2, B, 3, H, W], noise f32[2, B, N] and a bank of unit vectors f32[BANK, VALUES]."""
    rng = np.random.default_rng(0)
    views = rng.standard_normal((2, EXAMPLES, 3, 16, 16)).astype(np.float32)
    noise = np.tile(np.arange(16, dtype=np.float32), (2, EXAMPLES, 1))
    bank = rng.standard_normal((BANK, VALUES)).astype(np.float32)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    return views, rng.permuted(noise, axis=2), bank


def given_masks(randomness, context):
    """As the peer's: the smallest noise of a view stays visible."""
    noise = given()[1]
    return tuple(from_scores(-jnp.asarray(n), ratio=r) for n, r in zip(noise, RATIOS, strict=True))


@cache
def method():
    """MACRL at the case's size."""
    return masked_views(
        SPEC,
        model=lambda spec: our_net(CASE),
        mask=given_masks,
        objectives={"pixels": partial(match, head="pixels", target=patches, loss=absolute_error)},
        pairs={"contrast": partial(info_nce, temperature=TEMPERATURE, queue=BANK)},
        teachers={},
        calls={"projector": partial(mlp, hidden=HIDDEN, values=VALUES)},
        predicts=(0, 1),
    )


@cache
def ours():
    """(terms, gradients of each term to the params, carry) with the peer's weights."""
    views, _, bank = given()
    made = method()
    params, extra = made.init(jax.random.key(1))
    params = {**params, **huggingface.load(our_net(CASE), state_of(peer(CASE)))}
    extra = {"pairs": {"contrast": {"keys": jnp.asarray(bank)}}}

    @quick_jit
    def both(params, extra, batch):
        def terms(params):
            found = made.loss(Variables(params, extra, {}), batch, RANDOMNESS, jnp.float32(0))
            return {name: term.value for name, term in found.terms.items()}, found.carry

        values, carry = terms(params)
        return values, jax.jacrev(lambda p: terms(p)[0])(params), carry

    batch = {"views": views.transpose(1, 0, 3, 4, 2)}
    return params, *both(params, extra, batch)


def contrast_of(keys, bank):
    """InfoNCE of both directions by torch; keys: f32[2, B, D]."""
    units, losses = F.normalize(keys, dim=-1), []
    for one, other in ((0, 1), (1, 0)):
        logits = units[one] @ torch.cat([units[other], bank]).T / TEMPERATURE
        losses.append(F.cross_entropy(logits, torch.arange(len(logits))))
    return sum(losses) / 2


def project(params, x):
    """The projector by torch: linear, batch norm, ReLU, linear."""
    hidden = x @ params["dense_0/kernel"]
    hidden = F.batch_norm(
        hidden, None, None, params["norm_0/scale"], params["norm_0/bias"], training=True
    )
    return F.relu(hidden) @ params["dense_1/kernel"]


@pytest.mark.proves(88, "both terms and all gradients equal ViTMAE on two branches and torch")
def test_losses_and_gradients_equal_transformers_and_torch():
    params, terms, gradients, _ = ours()
    views, noise, bank = map(torch.from_numpy, given())
    head = {
        name: torch.tensor(np.asarray(leaf), requires_grad=True)
        for name, leaf in named_leaves(params["projector"])
    }
    model, features, errors, count = peer(CASE), [], 0.0, 0
    for view, drawn, ratio in zip(views, noise, RATIOS, strict=True):
        model.config.mask_ratio = model.vit.config.mask_ratio = ratio
        encoded = model.vit(view, noise=drawn)
        features.append(encoded.last_hidden_state[:, 1:].mean(dim=1))
        logits = model.decoder(encoded.last_hidden_state, encoded.ids_restore).logits
        each = (logits - model.patchify(view)).abs().mean(dim=-1)
        errors, count = errors + (each * encoded.mask).sum(), count + encoded.mask.sum()
    assert count == EXAMPLES * 16
    pixels = errors / count
    keys = torch.stack([project(head, each) for each in features])
    contrast = contrast_of(keys, bank)
    close(terms["pixels"], pixels.item())
    close(terms["contrast"], contrast.item())
    for term, value in (("pixels", pixels), ("contrast", contrast)):
        model.zero_grad()
        value.backward(retain_graph=True)
        theirs = {
            name: np.zeros(p.shape, np.float32) if p.grad is None else p.grad.numpy()
            for name, p in model.named_parameters()
            if p.requires_grad
        }
        expected = dict(named_leaves(huggingface.load(our_net(CASE), theirs)))
        if term == "contrast":
            expected |= {f"projector/{name}": array.grad.numpy() for name, array in head.items()}
        compare(term, gradients[term], expected)


def compare(term, ours, expected):
    """Compare gradients; the batch norm takes away what the last bias adds for the contrast."""
    largest = max(np.abs(array).max() for array in expected.values())
    for path, leaf in named_leaves(ours):
        if path not in expected:
            assert not np.any(leaf), (term, path)
        elif (term, path) == ("contrast", "encoder/norm/norm/bias"):
            assert max(np.abs(leaf).max(), np.abs(expected[path]).max()) < 1e-5 * largest
        else:
            close(leaf, expected[path], name=f"{term} {path}")


@pytest.mark.proves(
    88, "the bank holds the last projections, enters the contrast, gets no gradient"
)
def test_the_memory_bank():
    _, _, _, carry = ours()
    made, bank = method(), given()[2]
    variables = Variables({}, {"pairs": {"contrast": {"keys": jnp.asarray(bank)}}}, {})
    kept = made.refresh(variables, carry, jnp.float32(0))["pairs"]["contrast"]["keys"]
    entered = np.asarray(carry["contrast"]["keys"])
    assert int(carry["contrast"]["count"]) == BANK  # of ten projections, the first seven
    np.testing.assert_allclose(np.linalg.norm(entered, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(kept, entered, rtol=1e-6)


@pytest.mark.proves(88, "the contrast reaches no decoder, the pixels no projector")
def test_what_each_term_reaches():
    _, _, gradients, _ = ours()
    for term, spared in (("contrast", "decoder"), ("pixels", "projector")):
        for path, leaf in named_leaves(gradients[term]):
            assert np.any(leaf) != path.startswith(f"{spared}/"), (term, path)


@pytest.mark.proves(88, "the strong branch hides three quarters, the weak one a quarter")
def test_the_branches_differ():
    config = load("macrl")
    assert config.mask.brick == "maskmim.masks.views.asymmetric"
    crops = config.data.augment
    for chances in (crops.jitter_chances, crops.grey_chances, crops.blur_chances):
        assert chances[0] > 0 and chances[1] == 0
    context = Context({}, {"image": (8, 8)}, {})
    masks = asymmetric(RANDOMNESS, context, ratios=config.mask.ratios)
    assert [mask.visible.shape[1] for mask in masks] == [16, 48]
    assert (np.asarray(masks[0].hidden[:, :]).sum(1) == 48).all()
    assert config.predicts == (0, 1) and config.pairs.contrast.queue == 4096
    assert config.objectives.pixels.loss.brick == "maskmim.losses.absolute_error"
