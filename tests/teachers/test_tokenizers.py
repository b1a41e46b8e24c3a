"""Frozen tokenizers: the codes of a run, random codes, and runs that do not fit."""

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
from maskmim.types import Context, Objective, Spec, Variables
from tests.compiling import quick_jit
from tests.tiny import SPEC, pictures, tiny_method

pytestmark = pytest.mark.full

SIZE = 16


@cache
def tokenizer():
    """Return an untrained tokenizer whose normalisation differs from the model's."""
    spec = Spec(SPEC.size, 3, (0.4,) * 3, (0.5,) * 3)
    small = {"variant": "1x16x2", "width": 4, "features": 5, "decoder_depth": 1}
    model = partial(vq_vit, patch=(8, 8), **small)
    book = partial(averaged, size=SIZE)
    objectives = {"untrained": lambda: Objective((), 1.0, None, "never taken")}
    method = vq_kd(spec, model=model, codebook=book, objectives=objectives, teachers={})
    params, extra = jax.tree.map(np.asarray, quick_jit(method.init)(jax.random.key(3)))
    config = SimpleNamespace(method="maskmim.methods.vq_kd.vq_kd")
    return TrainedRun(config, spec, method, Variables(params, extra, ()), 7)


@cache
def autoencoder_run():
    """Return an untrained VQGAN tokenizer, whose codebook learns by gradients."""
    spec = Spec(SPEC.size, 3, (0.0,) * 3, (1.0,) * 3)
    small = {"width": 8, "levels": (1, 1, 1, 2), "blocks": 1, "groups": 2}
    model = partial(vq_autoencoder, codes=SIZE, codes_width=4, **small)
    method = autoencoder(spec, model=model, scales={})
    params, extra = jax.tree.map(np.asarray, quick_jit(method.init)(jax.random.key(4)))
    config = SimpleNamespace(method="maskmim.methods.vq_autoencoder.autoencoder")
    return TrainedRun(config, spec, method, Variables(params, extra, ()), 7)


@pytest.fixture(params=[tokenizer, autoencoder_run])
def run(monkeypatch, request):
    """Return the tokenizer as if it were read from a work directory."""
    tokenizer_run = request.param()

    def read(workdir):
        return tokenizer_run

    monkeypatch.setattr(tokenizers, "load_trained", read)
    return tokenizer_run


def asked(teacher, grids, batch):
    net = tiny_method().net

    @quick_jit
    def find(frozen, batch):
        return teacher.find(net, (), frozen, Context(batch, grids, {}), None)["codes"]

    return find(teacher.freeze(), batch)


def test_a_run_gives_its_codes(run):
    batch = {"image": pictures(3)}
    teacher = of_run(workdir="somewhere", size=SIZE)
    codes = asked(teacher, {"image": (4, 3)}, batch)
    expected = quick_jit(run.method.apply["codes"])(run.variables, batch)
    np.testing.assert_array_equal(codes, expected)
    assert codes.shape == (3, 12) and len(np.unique(codes)) > 1
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
    codes = asked(random_projection(size=50), grids, batch)
    assert codes.dtype == jnp.int32 and codes.shape == (2, 12)
    assert codes[0, 0] == codes[1, 5]
    assert len(np.unique(codes)) > 10
    np.testing.assert_array_equal(asked(random_projection(size=50), grids, batch), codes)
    assert np.mean(asked(random_projection(size=50, seed=1), grids, batch) != codes) > 0.5
