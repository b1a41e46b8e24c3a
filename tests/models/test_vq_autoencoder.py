"""The tokenizer's parts against the official ones: vectors, codes, picture, losses, scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.losses.entropy import code_entropy, squared_distances
from maskmim.methods.vq_autoencoder import Pass, adversarial_terms
from maskmim.models.critic import stylegan
from maskmim.models.vit import ModelError
from maskmim.models.vq_autoencoder import vq_autoencoder
from maskmim.teachers.picture_codes import codes_of, picture_of_codes, vectors_of
from maskmim.types import Spec
from tests.golden.maskgit import case
from tests.running import ROOT
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

GOLDEN = np.load(ROOT / "tests/golden/maskgit/values.npz")


def near(ours, name):
    expected = GOLDEN[name].reshape(np.shape(ours))
    np.testing.assert_allclose(ours, expected, atol=PARITY * np.abs(expected).max(), err_msg=name)


@pytest.mark.proves(101, "the tokenizer's vectors, codes and picture are those of the official one")
def test_parity_with_the_official_tokenizer():
    net = case.autoencoder()
    params = case.params_of(net.init, 0.05)
    vectors, codes = vectors_of(net, params, case.pictures()), GOLDEN["codes"].reshape(2, 16)
    near(vectors, "vectors")
    assert len(np.unique(codes)) > 2
    np.testing.assert_array_equal(codes_of(net, params, case.pictures()), codes)
    near(picture_of_codes(net, params, jnp.asarray(codes)), "picture")
    near(code_entropy(squared_distances(vectors, params["codebook"]["vectors"])) * 0.1, "entropy")


@pytest.mark.proves(101, "scores, R1 and non-saturating losses are those of the official ones")
def test_parity_with_the_official_discriminator():
    critic = case.critic()
    params = case.params_of(critic.init, 0.03)
    true = jnp.asarray(case.pictures())
    near(critic.score(params, true), "scores")
    terms = adversarial_terms(critic, params, Pass(true, 0.5 * true, {}, {}))
    for name, mean in terms.items():
        near(mean.value, name)


def test_the_entropy_is_low_where_codes_are_sure_and_even():
    sure = jnp.eye(8) * 5.0
    far = jnp.max(sure) - sure
    assert float(code_entropy(far)) < -np.log(8) + 0.01
    assert abs(float(code_entropy(jnp.zeros((8, 8))))) < 1e-3
    assert abs(float(code_entropy(jnp.tile(far[:1], (8, 1))))) < 1e-3


def test_impossible_settings_are_refused():
    spec = Spec((24, 16), 3, (0.0,) * 3, (1.0,) * 3)
    with pytest.raises(ModelError, match="3 groups do not divide the channels"):
        vq_autoencoder(spec, width=8, levels=(1, 2), groups=3)
    with pytest.raises(ModelError, match="do not divide into patches"):
        vq_autoencoder(spec, width=8, levels=(1,) * 5, groups=4)
    with pytest.raises(ModelError, match="squares of 8, 16, 32"):
        stylegan(spec)


def test_the_published_sizes():
    spec = Spec((256, 256), 3, (0.0,) * 3, (1.0,) * 3)
    net = vq_autoencoder(spec)
    assert net.grids == {"image": (16, 16)} and net.width == 256
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    assert shapes["codebook"]["vectors"].shape == (1024, 256)
    assert shapes["encoder"]["conv_in"]["kernel"].shape == (3, 3, 3, 128)
    assert shapes["decoder"]["conv_in"]["kernel"].shape == (3, 3, 256, 512)
    blocks = [name for name in shapes["encoder"] if "block" in name]
    assert len(blocks) == 12
    scores = jax.eval_shape(stylegan(spec).init, jax.random.key(0))
    widths = [scores["conv_in"]["bias"].shape[0]]
    widths += [scores[f"block{place}"]["conv2"]["bias"].shape[0] for place in range(6)]
    assert widths == [64, 128, 256, 512, 512, 512, 512]
