"""SupMIM: both terms equal torch's, each trains its own part, and the encoder learns from both."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.config.load import load
from maskmim.evals.learnt_labels import learnt_labels
from maskmim.models.layers.patches import gather
from maskmim.teachers.random_codes import random_projection
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Randomness, Variables
from tests.batches import random_batch
from tests.comparing import close
from tests.compiling import quick_jit

pytestmark = pytest.mark.full

EXAMPLES = 4
RANDOMNESS = Randomness.of(jax.random.key(0), EXAMPLES)
SIZE = ("train.batch_size=4", "input.size=16,16", "model.patch=4,4", "model.variant=1x16x2")


@cache
def run(passes):
    """(method, variables, batch, terms, gradients of each term, masks) of one kind of passes."""
    config = load(f"supmim:tiny,passes={passes}", SIZE)
    method = build_method(config)[1]
    params, extra = method.init(jax.random.key(1))
    rng = np.random.default_rng(0)
    params["classify"] = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params["classify"]
    )
    batch, frozen = random_batch(config, rng), method.freeze()

    def terms(params):
        variables = Variables(params, extra, frozen)
        found = method.loss(variables, batch, RANDOMNESS, jnp.float32(0)).terms
        return {name: term.value for name, term in found.items()}

    @quick_jit
    def both(params):
        shown = method.apply["mask"](Variables(params, extra, frozen), batch, RANDOMNESS)
        return terms(params), jax.jacrev(terms)(params), shown

    return method, Variables(params, extra, frozen), batch, *both(params)


def in_torch(logits, classes, smoothing=0.0):
    logits, classes = torch.tensor(np.asarray(logits)), torch.tensor(np.asarray(classes)).long()
    loss = torch.nn.functional.cross_entropy
    flat = logits.reshape(-1, logits.shape[-1]), classes.reshape(-1)
    return loss(*flat, label_smoothing=smoothing).item()


@pytest.mark.proves(
    68, "the label's loss of the whole picture and the codes' of the masked one equal torch's"
)
@pytest.mark.parametrize("passes", ["two", "one"])
def test_the_losses_are_those_of_torch(passes):
    method, variables, batch, terms, _, shown = run(passes)
    net, params, mask = method.net, variables.params, shown["mask"]
    inputs = net.inputs(batch)
    seen = net.encode(params, inputs, None if passes == "two" else mask)
    features = np.asarray(seen.tokens.astype(jnp.float32)).mean(1)
    head = params["classify"]
    logits = features @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    close(terms["label"], in_torch(logits, batch["label"]["fine"], 0.1))
    masked = net.encode(params, inputs, mask)
    codes = net.predict(params, masked, mask)["codes"]
    context = Context(batch, net.grids, {})
    all_codes = random_projection(size=32).find(net, (), (), context, None)["codes"]
    wanted = gather(all_codes[..., None], mask.predict)[..., 0]
    close(terms["codes"], in_torch(codes, wanted))
    assert mask.visible.shape[1] == 4  # of 16


@pytest.mark.proves(68, "each task trains its own head and the encoder, which both share")
@pytest.mark.parametrize("passes", ["two", "one"])
def test_each_term_reaches_its_own_part(passes):
    _, _, _, _, gradients, _ = run(passes)
    reached = {
        name: {path.partition("/")[0] for path, leaf in named_leaves(tree) if np.any(leaf)}
        for name, tree in gradients.items()
    }
    assert reached == {"label": {"encoder", "classify"}, "codes": {"encoder", "decoder"}}


def test_the_label_sees_the_whole_picture_only_in_two_passes():
    """What changes hidden pixels changes the label's term where the encoder sees all of them."""
    for passes, changes in (("two", True), ("one", False)):
        method, variables, batch, terms, _, shown = run(passes)
        hidden = np.kron(np.asarray(shown["mask"].hidden).reshape(-1, 4, 4), np.ones((4, 4)))
        pictures = np.where(hidden[..., None] > 0, 255 - batch["image"], batch["image"])
        other = {**batch, "image": pictures.astype(np.uint8)}
        found = method.loss(variables, other, RANDOMNESS, jnp.float32(0)).terms["label"].value
        assert (abs(float(found) - float(terms["label"])) > 1e-3) == changes


def test_its_classifier_is_found():
    for passes in ("two", "one"):
        learnt = learnt_labels(load(f"supmim:tiny,passes={passes}"))
        assert learnt["label"].labels == ("fine",) and learnt["label"].call == "classify"
