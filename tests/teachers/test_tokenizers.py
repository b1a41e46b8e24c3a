"""Frozen tokenizers: a run's own codes, random codes, and what does not go together."""

from functools import cache, partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.checkpoints.load_run import TrainedRun
from maskmim.methods.vq_autoencoder import autoencoder
from maskmim.methods.vq_kd import vq_kd
from maskmim.models.vq_autoencoder import vq_autoencoder
from maskmim.models.vq_vit import vq_vit
from maskmim.quantize.ema_codebook import averaged
from maskmim.teachers import tokenizers
from maskmim.teachers.random_codes import random_projection
from maskmim.teachers.tokenizers import TokenizerError, of_run
from maskmim.types import Context, Spec, Variables
from tests.compiling import quick_jit
from tests.tiny import SPEC, pictures, tiny_method

SIZE = 16


@cache
def tokenizer():
    """A tokenizer that has learnt nothing, whose input is normalised otherwise than the model's."""
    spec = Spec(SPEC.size, 3, (0.4,) * 3, (0.5,) * 3)
    small = {"variant": "1x16x2", "width": 4, "features": 5, "decoder_depth": 1}
    model = partial(vq_vit, patch=(8, 8), **small)
    book = partial(averaged, size=SIZE)
    method = vq_kd(spec, model=model, codebook=book, objectives={}, teachers={})
    params, extra = jax.tree.map(np.asarray, quick_jit(method.init)(jax.random.key(3)))
    config = SimpleNamespace(method="maskmim.methods.vq_kd.vq_kd")
    return TrainedRun(config, spec, method, Variables(params, extra, ()), 7)


@cache
def autoencoder_run():
    """A VQGAN's tokenizer that has learnt nothing; its codebook is learnt by gradients."""
    spec = Spec(SPEC.size, 3, (0.0,) * 3, (1.0,) * 3)
    small = {"width": 8, "levels": (1, 1, 1, 2), "blocks": 1, "groups": 2}
    model = partial(vq_autoencoder, codes=SIZE, codes_width=4, **small)
    method = autoencoder(spec, model=model, scales={})
    params, extra = jax.tree.map(np.asarray, quick_jit(method.init)(jax.random.key(4)))
    config = SimpleNamespace(method="maskmim.methods.vq_autoencoder.autoencoder")
    return TrainedRun(config, spec, method, Variables(params, extra, ()), 7)


@pytest.fixture(params=[tokenizer, autoencoder_run])
def run(monkeypatch, request):
    """The tokenizer as if it was read from a work directory."""
    found = request.param()

    def read(workdir):
        return found

    monkeypatch.setattr(tokenizers, "load_trained", read)
    return found


def asked(teacher, grids, batch):
    net = tiny_method().net

    @quick_jit
    def find(frozen, batch):
        return teacher.find(net, (), frozen, Context(batch, grids, {}), None)["codes"]

    return find(teacher.freeze(), batch)


def test_a_run_gives_its_own_codes(run):
    batch = {"image": pictures(3)}
    teacher = of_run(workdir="somewhere", size=SIZE)
    found = asked(teacher, {"image": (4, 3)}, batch)
    wanted = quick_jit(run.method.apply["codes"])(run.variables, batch)
    np.testing.assert_array_equal(found, wanted)
    assert found.shape == (3, 12) and len(np.unique(found)) > 1
    assert teacher.gives == ("codes",) and not teacher.sees_mask


def test_other_sizes_and_other_runs_are_errors(run, monkeypatch):
    with pytest.raises(TokenizerError, match="somewhere has 16 codes, not 8192"):
        of_run(workdir="somewhere").freeze()
    with pytest.raises(TokenizerError, match="12 tokens, the model into 48"):
        asked(of_run(workdir="somewhere", size=SIZE), {"image": (8, 6)}, {"image": pictures(1)})
    other = run._replace(method=tiny_method())
    monkeypatch.setattr(tokenizers, "load_trained", lambda workdir: other)
    with pytest.raises(TokenizerError, match="is not a tokenizer"):
        of_run(workdir="somewhere").freeze()


def test_random_codes_are_those_of_equal_patches_and_of_the_seed():
    image = pictures(2)
    image[0, :8, :8] = image[1, 8:16, 16:24]
    batch, grids = {"image": image}, {"image": (4, 3)}
    found = asked(random_projection(size=50), grids, batch)
    assert found.dtype == jnp.int32 and found.shape == (2, 12)
    assert found[0, 0] == found[1, 5]
    assert len(np.unique(found)) > 10
    np.testing.assert_array_equal(asked(random_projection(size=50), grids, batch), found)
    assert np.mean(asked(random_projection(size=50, seed=1), grids, batch) != found) > 0.5
