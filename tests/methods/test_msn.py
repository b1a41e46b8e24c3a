"""MSN: equal to the official code; what is hidden, what learns, and what me-max and targets do."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import ViTMSNConfig, ViTMSNModel

from maskmim.config.load import load
from maskmim.interop.layout import arrays_of
from maskmim.losses.assignments import assignments, balanced_targets
from maskmim.masks.core import from_hidden
from maskmim.methods.masked import MethodError
from maskmim.methods.masked_siamese import masked_siamese
from maskmim.models.encoder_only import vit_encoder
from maskmim.models.layers.posembed import resize_positions
from maskmim.models.msn import cosine_prototypes, vit_msn
from maskmim.models.other_size import resize_net
from maskmim.models.projectors import mlp
from maskmim.teachers import pretrained
from maskmim.teachers.average import average
from maskmim.teachers.momentum import linear
from maskmim.teachers.projections import projected, projected_class, projected_mean
from maskmim.training.build import assemble
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Randomness, Spec, Variables
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.msn import case
from tests.golden.official_weights import params_by_name
from tests.interop.transformers_simmim import randomised

pytestmark = pytest.mark.full

RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)
PARTS = "encoder", "projector"
# What a batch norm takes away again: gradients are 0 up to rounding.
NO_GRADIENT = "norm.bias", "fc.fc1.bias", "fc.fc2.bias"
CALLS = {
    "projector": partial(
        mlp, layers=3, hidden=case.HIDDEN, values=case.VALUES, activation="gelu", biases=True
    ),
    "prototypes": partial(cosine_prototypes, clusters=case.CLUSTERS, inputs=case.VALUES),
}


def given_masks(randomness, context):
    """The official patches, the first of the permutation, are visible."""
    visible = case.permutation()[: int((1 - case.DROP) * context.length)]
    hidden = jnp.ones((len(randomness.slots), context.length), bool).at[:, visible].set(False)
    return from_hidden(hidden, count=context.length - len(visible))


def method(mask=given_masks, find=projected_class, model=case.MODEL, calls=CALLS):
    """MSN at the case's size."""
    momentum = partial(linear, start=0.996, end=0.9992)
    return masked_siamese(
        case.SPEC,
        model=model,
        mask=mask,
        teacher=partial(average, find=find, momentum=momentum, parts=PARTS),
        calls=calls,
        assignments=assignments,
    )


@cache
def example():
    """(method, variables with the official weights, batch)."""
    made = method()
    shapes, _ = jax.eval_shape(made.init, jax.random.key(0))

    def weights(who):
        by_name = partial(case.weight_without_class_row, who)
        return params_by_name(case.layout(), shapes, by_name)[0]

    kept = {part: weights("average")[part] for part in PARTS}
    batch = dict(zip(("global", "local"), case.crops(), strict=True))
    return made, Variables(weights("student"), {"teacher": kept}, ()), batch


@quick_jit
def losses_of(variables, batch, slots):
    """The sums of the case's losses."""
    randomness = RANDOMNESS._replace(slots=slots)
    losses = method().loss(variables, batch, randomness, jnp.float32(0))
    return losses.terms, losses.metrics


@cache
def run():
    """(the terms of the loss, metrics, gradients of their sum to params, extra and batch)."""
    made, variables, batch = example()

    @quick_jit
    def both(params, extra, batch):
        def loss(params, extra, batch):
            found = made.loss(Variables(params, extra, ()), batch, RANDOMNESS, jnp.float32(0))
            values = {name: term.value for name, term in found.terms.items()}
            metrics = {name: metric.value for name, metric in found.metrics.items()}
            return sum(found.scales[name] * x for name, x in values.items()), (values, metrics)

        return jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(params, extra, batch)

    gradients, (terms, metrics) = both(*variables[:2], batch)
    return terms, metrics, gradients


@pytest.mark.proves(102, "both losses, targets' use and all gradients equal the official code's")
def test_one_step_equals_the_official_one():
    golden = np.load(case.GOLDEN)
    terms, metrics, (params, _, _) = run()
    close(terms["assignment"], golden["assignment"])
    close(terms["me_max"], golden["me_max"])
    assert metrics["prototypes"] == golden["prototypes"]
    assert metrics["hidden"] == pytest.approx(5 / 16)
    ours = arrays_of(case.layout(), params)
    sizes = np.cumsum([array.size for array in ours.values()])
    theirs = np.split(golden["gradients"], sizes[:-1])
    whole = np.abs(golden["gradients"]).max()
    for (name, array), expected in zip(ours.items(), theirs, strict=True):
        if name in NO_GRADIENT:
            assert max(np.abs(array).max(), np.abs(expected).max()) < 1e-5 * whole, name
        else:
            close(array.reshape(-1), expected, name=name)


@pytest.mark.proves(102, "projections and balanced targets equal the official code's")
def test_what_the_networks_make_equals_the_official_code():
    golden = np.load(case.GOLDEN)
    made, variables, batch = example()

    @quick_jit
    def project(params, extra, batch):
        context = Context({"image": batch["global"][:, 0]}, made.net.grids, {})
        target = projected_class(made.net, {**params, **extra["teacher"]}, context)["projection"]
        crops = batch["global"][:, 1:].reshape(-1, *case.SPEC.shape)
        mask = given_masks(Randomness.of(jax.random.key(0), len(crops)), context)
        small = resize_net(case.MODEL, case.SPEC, (case.LOCAL,) * 2, resize=resize_positions)
        encoded = (
            made.net.encode(params, crops, mask),
            small.encode(params, batch["local"].reshape(-1, *(case.LOCAL,) * 2, 3), None),
        )
        projected = [made.net.calls["projector"](params, each.prefix[:, 0]) for each in encoded]
        anchors = [each.reshape(case.EXAMPLES, -1, case.VALUES) for each in projected]
        targets = balanced_targets(made.net.calls["prototypes"](params, target), assignments())
        return target, jnp.concatenate(anchors, axis=1), targets

    for ours, name in zip(
        project(*variables[:2], batch), ("target", "anchors", "assigned"), strict=True
    ):
        close(ours, golden[name], name=name)


@pytest.mark.proves(102, "encoder, projector and prototypes learn, the average and its crop do not")
def test_what_learns():
    _, _, (params, extra, batch) = run()
    for path, gradient in named_leaves(params):
        assert np.any(gradient), path
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(extra))
    large = np.asarray(batch["global"])
    assert not large[:, 0].any() and batch["local"].any()
    hidden = np.asarray(given_masks(RANDOMNESS, Context({}, {"image": (4, 4)}, {})).hidden[0])
    patches = large[:, 1:].reshape(-1, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5)
    reached = np.abs(patches.reshape(len(patches), 16, -1)).max(axis=(0, 2)) > 0
    np.testing.assert_array_equal(reached, ~hidden)


@pytest.mark.proves(102, "the average follows encoder and projector, not the prototypes")
def test_the_average_follows_the_student():
    made, variables, _ = example()
    kept = made.refresh(variables, {}, jnp.float32(0.5))["teacher"]
    assert set(kept) == set(PARTS)
    old = variables.extra["teacher"]["encoder"]["class_token"]
    new = variables.params["encoder"]["class_token"]
    share = 0.996 + 0.004 * 0.5 / 1.25
    close(kept["encoder"]["class_token"], share * old + (1 - share) * new)


def test_micro_batches_change_the_terms_of_the_batch_as_documented():
    """Targets are balanced, means taken and batch norms computed over the micro-batch."""
    _, variables, batch = example()

    def terms(chosen):
        part = {name: array[chosen] for name, array in batch.items()}
        return losses_of(variables, part, np.arange(4, dtype=np.uint32)[chosen])[0]

    whole, *parts = (terms(slice(*each)) for each in ((0, 4), (0, 4, 2), (1, 4, 2)))
    for name, term in whole.items():
        apart = [float(part[name].value) for part in parts]
        assert abs(np.mean(apart) - float(term.value)) > 1e-2, name


def test_features_are_those_of_transformers_and_files_are_read(tmp_path):
    """ViTMSNModel with random weights, whole pictures of the first and of another size."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = ViTMSNConfig(**sizes, intermediate_size=64, image_size=16, patch_size=4)
    peer = randomised(ViTMSNModel(config))
    peer.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    assert any("position" in name for name in load_file(file))
    pretrained_net = pretrained.vit(
        path=str(file), variant="2x16x2", patch=(4, 4), mean=(0.0,) * 3, std=(1.0,) * 3
    )
    spec = Spec((16, 16), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32")
    model = partial(vit_msn, variant="2x16x2", patch=(4, 4))
    read = {"encoder": pretrained_net.load()}
    for side in (16, 24):
        net = resize_net(model, spec, (side, side), resize=resize_positions)
        pictures = np.random.default_rng(side).normal(size=(2, side, side, 3)).astype(np.float32)
        encoded = quick_jit(lambda p, x, net=net: net.encode(p, x, None))(read, pictures)
        with torch.no_grad():
            pixels = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())
            expected = peer(pixels, interpolate_pos_encoding=True).last_hidden_state.numpy()
        close(encoded.prefix[:, 0], expected[:, 0], name=f"class {side}")
        close(encoded.tokens, expected[:, 1:], name=f"tokens {side}")


def test_parts_that_do_not_fit_are_errors():
    with pytest.raises(MethodError, match=r"calls has projector.*prototypes"):
        method(calls={"projector": CALLS["projector"]})
    with pytest.raises(MethodError, match="projected_class"):
        method(find=projected)
    made, variables, batch = example()
    with pytest.raises(MethodError, match="one large crop"):
        one = {**batch, "global": batch["global"][:, :1]}
        jax.eval_shape(lambda v: made.loss(v, one, RANDOMNESS, jnp.float32(0)), variables)
    bare = method(
        find=projected_mean,
        model=partial(vit_encoder, variant="1x8x2", patch=(4, 4), class_token=False),
    )

    shapes = jax.eval_shape(bare.init, jax.random.key(0))
    with pytest.raises(MethodError, match="class tokens"):
        jax.eval_shape(
            lambda p, e: bare.loss(Variables(p, e, ()), batch, RANDOMNESS, jnp.float32(0)), *shapes
        )


def test_the_published_recipe():
    """The numbers of msn_vits16.yaml and of the code, so that nobody changes one unawares."""
    config = load("msn")
    assert (config.train.batch_size, config.train.epochs) == (1024, 800)
    assert config.mask.brick == "maskmim.masks.uniform.shared"
    assert (config.mask.ratio, config.model.variant, config.model.drop_path) == (0.15, "S", 0.0)
    optim, schedule = config.optim, config.schedule
    assert (optim.lr, optim.lr_per, optim.clip_norm) == (1e-3, 0, 3.0)
    assert (optim.weight_decay, optim.weight_decay_end, optim.b2) == (0.04, 0.4, 0.999)
    assert (schedule.warmup_epochs, schedule.start, schedule.final) == (15, 0.2, 1e-3)
    assert schedule.cut == pytest.approx(785 / 985) and optim.stretch == 1.25
    assert config.teacher.momentum.end == pytest.approx(0.996 + 0.004 / 1.25)
    settings = config.assignments
    assert (settings.temperature, settings.sharpening, settings.iterations) == (0.1, 0.25, 3)
    assert settings.me_max_scale == 1.0
    crops = config.data.augment
    assert (crops.global_scale, crops.local_scale) == ((0.3, 1.0), (0.05, 0.3))
    assert (crops.local_count, crops.local_size) == (10, (96, 96))
    assert crops.jitter == (0.4, 0.4, 0.4, 0.1) and crops.blur_chances == (0.5, 0.5, 0.5)
    projector, prototypes = config.calls.projector, config.calls.prototypes
    assert (projector.layers, projector.hidden, projector["values"]) == (3, 2048, 256)
    assert (projector.norm, projector.activation, projector.biases) == ("batch", "gelu", True)
    assert (prototypes.clusters, prototypes.inputs) == (1024, 256)
    assert assemble(config, 1_281_167).peak == pytest.approx(1e-3)
