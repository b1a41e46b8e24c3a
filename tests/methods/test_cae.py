"""CAE: regressed latents come to lie where the encoder's own do, and only the objective does it."""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import optax
import pytest

from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.losses.regression import squared_error
from maskmim.masks.blocks import beit
from maskmim.methods.masked import masked
from maskmim.models.cae import vit_cae
from maskmim.objectives.classification import classify
from maskmim.objectives.matching import match
from maskmim.targets.codes import codes
from maskmim.targets.features import features
from maskmim.teachers.alignment import alignment
from maskmim.teachers.random_codes import random_projection
from maskmim.tree_paths import named_leaves
from maskmim.types import Method, Randomness, Spec, Tree, Variables
from tests.compiling import quick_jit

pytestmark = pytest.mark.full

SPEC = Spec((32, 32), 3, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
STEPS, HELD_OUT = 150, 64


def method() -> Method:
    sizes = {"variant": "nano", "patch": (8, 8), "regressor_depth": 2, "decoder_depth": 1}
    align = partial(match, head="latent", target=features, loss=squared_error)
    return masked(
        SPEC,
        model=partial(vit_cae, heads={"tokens": 16}, drop_path=0.0, **sizes),
        mask=partial(beit, ratio=0.5, smallest=2),
        objectives={"tokens": partial(classify, head="tokens", target=codes), "alignment": align},
        teachers={"encoder": alignment, "tokenizer": partial(random_projection, size=16)},
    )


def pictures(count: int, seed: int) -> np.ndarray:
    """Slopes of colour u8[count, 32, 32, 3]: what is hidden can be told from what is visible."""
    rng = np.random.default_rng(seed)
    down, right = np.indices((32, 32))[..., None] / 31 - 0.5
    colour = rng.uniform(0.2, 0.8, (count, 1, 1, 3))
    slope = rng.uniform(-0.4, 0.4, (2, count, 1, 1, 3))
    return (255 * np.clip(colour + slope[0] * down + slope[1] * right, 0, 1)).astype(np.uint8)


class Run(NamedTuple):
    """A short run: its method, the params at its start, its end, the loss of the codes by step."""

    method: Method
    begun: Tree
    variables: Variables
    losses: list[float]


@pytest.fixture(scope="module")
def runs() -> tuple[Run, Run]:
    """One with the alignment as published, one that leaves it out."""
    made = method()
    optimiser = optax.adamw(optax.cosine_decay_schedule(3e-3, STEPS))
    start, frozen = quick_jit(made.init)(jax.random.key(0)), made.freeze()

    @quick_jit
    def step(params, extra, opt_state, image, number, scale):
        randomness = Randomness.of(jax.random.fold_in(jax.random.key(0), number), len(image))

        def loss(params):
            result = made.loss(Variables(params, extra, frozen), {"image": image}, randomness, 0.0)
            tokens, alignment = (
                result.terms["tokens"].value,
                result.terms["alignment"].value,
            )
            return tokens + scale * alignment, (tokens, result.carry)

        (_, (tokens, carry)), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = optimiser.update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
        extra = made.refresh(Variables(params, extra, frozen), carry, 0.0)
        return params, extra, opt_state, tokens

    def train(scale: float) -> Run:
        params, extra = start
        opt_state, losses = optimiser.init(params), []
        for number in range(STEPS):
            batch = pictures(32, number)
            params, extra, opt_state, tokens = step(params, extra, opt_state, batch, number, scale)
            losses.append(float(tokens))
        return Run(made, start[0], Variables(params, extra, frozen), losses)

    return train(2.0), train(0.0)


@pytest.fixture
def run(runs) -> Run:
    return runs[0]


def latents_of(runs: tuple[Run, ...]) -> list[dict[str, np.ndarray]]:
    """Regressed latents and the encoder's own, of unseen pictures: f32[pictures, P, D] by run."""
    made, batch = runs[0].method, {"image": pictures(HELD_OUT, STEPS + 1)}

    @quick_jit
    def run_encoder(variables):
        randomness = Randomness.of(jax.random.key(9), HELD_OUT)
        mask = made.apply["mask"](variables, batch, randomness)["mask"]
        inputs, params = made.net.inputs(batch), variables.params
        encoded = made.net.encode(params, inputs, mask)
        alone = made.net.encode(params, inputs, mask._replace(visible=mask.predict))
        return {"regressed": made.net.predict(params, encoded, mask)["latent"], "own": alone.tokens}

    return [jax.tree.map(np.asarray, run_encoder(run.variables)) for run in runs]


def cosine(latents: dict[str, np.ndarray]) -> float:
    """The mean cosine of both, each without its mean over all tokens of all pictures."""
    one, other = (value - value.mean(axis=(0, 1)) for value in latents.values())
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return float(np.mean(np.sum(one * other, axis=-1) / lengths))


@pytest.mark.proves(4, "on unseen pictures regressed and own latents agree, cosine above 0.8")
@pytest.mark.slow
@pytest.mark.proves(4, "without the alignment objective they do not, cosine below 0.2")
def test_alignment_puts_regressed_latents_where_the_encoder_s_lie(runs):
    with_it, without = map(cosine, latents_of(runs))
    print(f"cosine with the alignment {with_it:.3f}, without {without:.3f}")
    assert with_it > 0.8 and abs(without) < 0.2


def test_the_codes_are_learnt(run):
    first, last = np.mean(run.losses[:3]), np.mean(run.losses[-10:])
    print(f"cross-entropy of the codes {first:.3f} -> {last:.3f}")
    assert last < 0.8 * first, run.losses


@pytest.mark.proves(4, "the alignment's encoder is the current one after every update, no average")
def test_the_teacher_never_lags(run):
    ours = dict(named_leaves(run.variables.params["encoder"]))
    for path, leaf in named_leaves(run.variables.extra["encoder"]["encoder"]):
        np.testing.assert_array_equal(leaf, ours[path], err_msg=path)


def test_initialisation(run):
    """Patch embedding and tokens N(0, 0.02) cut at one deviation, LayerScale, else Xavier."""
    encoder, decoder = run.begun["encoder"], run.begun["decoder"]
    for leaf in (encoder["embed"]["kernel"], encoder["class_token"], decoder["mask_token"]):
        assert 0.017 < np.abs(leaf).max() <= 0.02
    bound = np.sqrt(6 / (32 + 32))
    for name in ("query", "key", "value", "out"):
        kernel = decoder["regressor_blocks"]["attention"][name]["kernel"]
        assert 0.97 * bound < np.abs(kernel).max() <= bound
    scales = [
        leaf for path, leaf in named_leaves(run.begun) if path.endswith(("1/scale", "2/scale"))
    ]
    assert len(scales) == 6
    np.testing.assert_allclose(np.concatenate([np.ravel(a) for a in scales]), 0.1)


@pytest.mark.parametrize(
    ("argument", "variant", "scale", "warmup", "heads"),
    [
        ("", "B", 0.1, 20, {"tokens": 8192}),
        ("epochs=300", "B", 0.1, 10, {"tokens": 8192}),
        ("epochs=1600,variant=L,target=pixels", "L", 1e-5, 40, {"pixels": None}),
    ],
)
def test_the_published_recipe(argument, variant, scale, warmup, heads):
    config = load(f"configs/cae.py:{argument}".rstrip(":"))
    model, optim = config.model, config.optim
    assert (model.variant, model.layer_scale, model.compute.dtype) == (variant, scale, "bfloat16")
    assert model.heads.to_dict() == heads and config.mask.ratio == 0.5
    assert config.train.batch_size == 2048 and config.schedule.warmup_epochs == warmup
    assert (optim.lr, optim.lr_per, optim.clip_norm) == (1.5e-3, 0, 3.0)
    assert config.objectives.alignment.scale == 2.0


def test_a_target_that_is_not_there():
    with pytest.raises(ConfigError, match="target=codes: use tokens or pixels"):
        load("configs/cae.py:target=codes")
