"""AV-MAE as config: the published numbers, and what the sound is worth for a hidden clip."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.data.pipeline import eval_batches, train_batches
from maskmim.training.build import assemble, build_method, init_sharded, jitted_step
from maskmim.training.sharding import put
from maskmim.types import Context, Randomness

STEPS, KEPT, BATCH = 400, 64, 32


@pytest.mark.full
@pytest.mark.proves(87, "90 % of the cubes and 70 % (50 %) of the patches are hidden, exactly")
@pytest.mark.parametrize(
    ("recipe", "shown", "joint"), [("audioset", (157, 149), 2), ("vggsound", (157, 200), 0)]
)
def test_the_published_recipe(recipe, shown, joint):
    config = load(f"av_mae:recipe={recipe}")
    _, method = build_method(config)
    grids = method.net.grids
    assert grids == {"video": (8, 14, 14), "audio": ((62, 8) if joint else (50, 8))}
    mask = bind(config.mask)(Randomness.of(jax.random.key(0), 8), Context({}, grids, {}))
    parts = np.split(np.asarray(~mask.hidden), [1568], axis=1)
    assert [set(part.sum(axis=1)) for part in parts] == [{count} for count in shown]
    assert config.model.joint == joint and not config.model.shared
    rates = (3e-4, 120) if joint else (1.5e-4, 400)
    assert (config.optim.lr, config.train.epochs) == rates
    assert (config.optim.lr_per, config.optim.b2, config.train.batch_size) == (256, 0.95, 512)
    assert load("av_mae:fusion=early").model.joint == 24
    assert load("av_mae:fusion=shared,decoder=joint").model.shared
    with pytest.raises(ConfigError, match="early, mid, shared or separate"):
        load("av_mae:fusion=late")


@pytest.mark.slow
@pytest.mark.proves(
    87, "mid fusion predicts a hidden clip better from its own sound than another's"
)
def test_the_true_sound_beats_another_for_mid_fusion():
    config = load("av_mae:tiny")
    config.train.batch_size, config.train.epochs = BATCH, STEPS * BATCH / 2048
    config.data.train.count = 2048
    config.data.train.behind = config.evals.test.behind = 0.0
    for section in (config.mask, config.model):
        section.ratio, section.ratios.audio = 0.75, 0.1
    config.optim.lr, config.optim.lr_per, config.optim.b2 = 3e-3, 0, 0.95
    config.schedule.warmup_epochs = config.train.epochs / 10
    parts = assemble(config, 2048)
    decode, augment = bind(config.data.decode), bind(config.data.augment)
    arrays = ("video", "audio")
    state, frozen = init_sharded(parts, config.seed)
    step = jitted_step(config, parts)
    records = bind(config.data.train)()
    read = train_batches(
        records, spec=parts.spec, decode=decode, batch_size=BATCH, seed=0, augment=augment
    )
    kept = [
        {name: put(batch[name], parts.mesh) for name in arrays}
        for batch in itertools.islice(read, KEPT)
    ]
    for number in range(STEPS):
        state, _ = step(state, frozen, kept[number % KEPT])
    tests = bind(config.evals.test)()
    transform = bind(config.evals.transform)
    decode = bind(config.evals.decode)
    batch = next(
        eval_batches(tests, spec=parts.spec, decode=decode, batch_size=32, transform=transform)
    )
    batch = {name: batch[name] for name in arrays}
    net = parts.method.net
    sampler = bind(config.mask)

    @jax.jit
    def error(params, shown, key):
        context = Context(shown, net.grids, {})
        mask = sampler(Randomness.of(key, 32), context)
        found = net.predict(params, net.encode(params, net.inputs(shown), mask), mask)["video"]
        true = net.patchify(net.inputs({"video": batch["video"]}))["video"]
        hidden = mask.hidden[:, : found.shape[1]]
        squared = jnp.mean((found - true) ** 2, axis=-1)
        return jnp.sum(squared * hidden, axis=1) / jnp.sum(hidden, axis=1)

    of_another = batch | {"audio": np.roll(batch["audio"], 1, axis=0)}
    keys = [jax.random.key(number) for number in range(8)]
    own, other = (
        np.stack([np.asarray(error(state.params, shown, key)) for key in keys])
        for shown in (batch, of_another)
    )
    print(own.mean(), other.mean(), np.mean(own < other))
    assert own.mean() < 0.95 * other.mean(), (own.mean(), other.mean())
    assert np.mean(own < other) > 0.7, np.mean(own < other)
