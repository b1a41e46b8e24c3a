"""How much sharper the predicted patches of a blurred picture are than the picture itself."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import PositiveInt
from maskmim.evals.features import Unsuitable
from maskmim.evals.held_out import valid_batches
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained
from maskmim.models.layers.heads import head_output
from maskmim.models.net import array_of
from maskmim.training import sharding
from maskmim.types import Array, Batch, Mask, Net, Randomness, Variables

NAMES = ("blurred", "visible", "hidden")


@facts.measure(needs=("test", "loss"))
def deblurring(
    trained: Trained, *, array: str = "sharp", head: str = "pixels", images: PositiveInt = 512
) -> Iterator[Measured]:
    """Yield how near blurred and predicted patches are to those of a sharp picture, in dB.

    array:  name of the sharp picture in the batch.
    head:   name of the network's head that predicts its pixels on every token.
    images: at most so many of `evals.test`, spread evenly (512: ours).
    Yields PSNR, -10 log10 of the mean squared error of displayed pixels in [0, 1] over all images:
    'deblurring/blurred' of the input's visible patches, 'deblurring/visible' and
    'deblurring/hidden' of predictions. A model that has learnt to deblur has 'visible' above
    'blurred'. Masks depend on the image's index alone.
    Raises Unsuitable where the sampler does not predict every token, ModelError without the head or
    the array.
    """
    method, net = trained.method, trained.method.net

    def errors(variables: Variables, arrays: Batch, randomness: Randomness) -> Array:
        made = method.apply["mask"](variables, arrays, randomness)
        mask, inputs = made["mask"], made["inputs"]
        if mask.predict.shape != mask.hidden.shape:
            raise Unsuitable(
                "the sampler does not predict every token: wrap it in maskmim.masks.roles."
                "all_predicted"
            )
        encoded = net.encode(variables.params, inputs, mask)
        predicted = head_output(net.predict(variables.params, encoded, mask), head)
        (stream,) = net.grids
        sharp = net.inputs({stream: array_of(arrays, array)})
        return patch_errors(net, inputs, predicted, sharp, mask)

    run = jax.jit(errors, out_shardings=sharding.replicated(trained.mesh))
    sums = np.zeros((3, 2))
    for batch in valid_batches(trained.test.batches(images), trained.test.size):
        randomness = trained.randomness(batch["record"])
        sums += np.asarray(run(trained.evaluated, trained.on_devices(batch), randomness))
    for name, (total, count) in zip(NAMES, sums, strict=True):
        value = float(-10 * np.log10(max(total, 1e-12) / max(count, 1.0)))
        yield Measured(f"deblurring/{name}", value, f"{value:.2f} dB")


def patch_errors(net: Net, blurred: Array, predicted: Array, sharp: Array, mask: Mask) -> Array:
    """Return sums of squared errors and numbers of patches, f32[3, 2] in the order of NAMES.

    blurred, sharp: f32[B, H, W, C]. predicted: f32[B, N, V], of every token. An error is the mean
    over the displayed values of a patch.
    """

    def displayed(inputs: Array) -> Array:
        return net.patchify(net.display(inputs).astype(jnp.float32) / 255)

    def sums(inputs: Array, counted: Array) -> Array:
        by_patch = jnp.mean((displayed(inputs) - displayed(sharp)) ** 2, axis=-1)
        return jnp.stack([jnp.sum(by_patch * counted), jnp.sum(counted)])

    restored = net.restore(predicted)
    hidden, visible = mask.hidden.astype(jnp.float32), 1.0 - mask.hidden
    return jnp.stack([sums(blurred, visible), sums(restored, visible), sums(restored, hidden)])
