"""Both branches against transformers' VideoMAE and ViTMAE, and what each term reaches."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.interop import huggingface
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_hidden, from_scores
from maskmim.methods.masked import masked
from maskmim.models.cross_video import IMAGE, cross_video
from maskmim.models.layers.errors import ModelError
from maskmim.models.masked_vit import vit_mae
from maskmim.models.projectors import mlp
from maskmim.models.videomae import vit_videomae
from maskmim.objectives.in_stream import in_stream
from maskmim.objectives.matching import match
from maskmim.objectives.stream_contrast import contrast_streams
from maskmim.targets.cubes import normalised_cubes
from maskmim.targets.pixels import normalised_patches
from maskmim.tree_paths import named_leaves
from maskmim.types import Randomness, Spec, Variables
from tests.comparing import close
from tests.compiling import quick_jit
from tests.interop import transformers_mae as pictures
from tests.interop import transformers_videomae as clips

pytestmark = pytest.mark.full

CASE = pictures.Case("", image=(16, 16), patch=4, encoder=(2, 24, 3, 72), decoder=(1, 16, 2))
EXAMPLES, RATIO = 3, 0.75
RANDOMNESS = Randomness.of(jax.random.key(0), EXAMPLES)
PLAIN = (0.0,) * 3, (1.0,) * 3
CLIPS = ("video", "second")


def spec(**changes):
    """Return the streams video, frame and second, of inputs that are normalised."""
    second = Spec(clips.SIZE, 3, *PLAIN, stream="second", dtype="float32")
    frame = Spec(CASE.image, 3, *PLAIN, stream="frame", dtype="float32")
    streams = {"frame": frame, "second": second, **changes}
    return Spec(clips.SIZE, 3, *PLAIN, stream="video", dtype="float32", streams=streams)


def sizes():
    """Return the bricks of both branches, at the sizes of the peers."""
    encoder, decoder = ("x".join(map(str, size)) for size in (clips.ENCODER, clips.DECODER))
    depth, width, heads = CASE.decoder
    video = partial(
        vit_videomae, variant=encoder, patch=clips.PATCH, decoder=decoder, norm_eps=clips.EPS
    )
    image = partial(
        vit_mae,
        variant="x".join(map(str, CASE.encoder)),
        patch=(CASE.patch, CASE.patch),
        decoder_depth=depth,
        decoder_width=width,
        decoder_heads=heads,
    )
    return {"video": video, "image": image}


NET = partial(cross_video, **sizes(), ratio=RATIO)


@cache
def arrays():
    """Return (noise of the frames, hidden tokens of all streams, the batch)."""
    rng = np.random.default_rng(0)
    noise = rng.permuted(np.tile(np.arange(16, dtype=np.float32), (EXAMPLES, 1)), axis=1)
    frames = np.asarray(from_scores(-jnp.asarray(noise), ratio=RATIO).hidden)
    cubes = [rng.permuted(np.tile(np.arange(72) < 54, (EXAMPLES, 1)), axis=1) for _ in CLIPS]
    hidden = np.concatenate([cubes[0], frames, cubes[1]], axis=1)
    batch = {
        name: rng.normal(size=(EXAMPLES, *each.shape)).astype(np.float32)
        for name, each in spec().arrays.items()
    }
    return noise, hidden, batch


def given_mask(randomness, context):
    return from_hidden(jnp.asarray(arrays()[1]), count=2 * 54 + 12)


@cache
def method():
    """Both reconstructions and both kinds of contrast."""

    def term(name, target):
        of = partial(match, head=name, target=target, loss=squared_error)
        return partial(in_stream, stream=name, of=of)

    intra = partial(contrast_streams, one=("video",), other=("second",))
    cross = partial(contrast_streams, one=CLIPS, other=("frame",), project_other="of_frames")
    objectives = {name: term(name, normalised_cubes) for name in CLIPS}
    objectives |= {"frame": term("frame", normalised_patches), "intra": intra, "cross": cross}
    calls = dict.fromkeys(("projector", "of_frames"), partial(mlp, hidden=8, values=4))
    return masked(
        spec(), model=NET, mask=given_mask, objectives=objectives, teachers={}, calls=calls
    )


@cache
def peers():
    return clips.peer(), pictures.peer(CASE)


def as_ours(of_clips, of_pictures):
    """Return weights or gradients of the peers as params of both branches."""
    branch = huggingface.load(pictures.our_net(CASE), of_pictures)
    return {**clips.as_ours(of_clips), IMAGE: branch}


@cache
def params():
    """Return the peers' weights, and random projectors."""
    shapes, _ = jax.eval_shape(method().init, jax.random.key(0))
    rng = np.random.default_rng(2)
    drawn = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes)
    video, image = peers()
    return drawn | as_ours(dict(video.named_parameters()), pictures.state_of(image))


@cache
def run():
    """Return (terms, encoded tokens, predictions, gradients of each term to params and batch)."""
    net, mask = method().net, given_mask(None, None)

    @quick_jit
    def everything(params, batch):
        def terms(params, batch):
            loss = method().loss(Variables(params, {}, {}), batch, RANDOMNESS, jnp.float32(0))
            return {name: term.value for name, term in loss.terms.items()}

        encoded = net.encode(params, net.inputs(batch), mask)
        outputs = net.predict(params, encoded, mask)
        gradients = jax.jacrev(terms, argnums=(0, 1))(params, batch)
        return terms(params, batch), encoded.tokens, outputs, gradients

    return everything(params(), arrays()[2])


@cache
def theirs():
    """Return the peers' features, predictions and losses by stream, and their gradients."""
    video, image = peers()
    noise, hidden, batch = arrays()
    found = {}
    for name, here in (("video", slice(72)), ("second", slice(88, 160))):
        pixels = torch.from_numpy(batch[name].transpose(0, 1, 4, 2, 3).copy())
        positions = torch.tensor(hidden[:, here])
        features = video.videomae(pixels, bool_masked_pos=positions).last_hidden_state
        output = video(pixels, bool_masked_pos=positions)
        found[name] = features, output.logits, output.loss
    pixels = torch.from_numpy(batch["frame"].transpose(0, 3, 1, 2).copy())
    found["frame"] = pictures.loss_of(image, pixels, torch.from_numpy(noise))
    sum(loss for _, _, loss in found.values()).backward()
    of_clips = {name: each.grad for name, each in video.named_parameters()}
    of_pictures = {
        name: each.grad.numpy() for name, each in image.named_parameters() if each.grad is not None
    }
    gradients = as_ours(of_clips, of_pictures)
    return {name: [x.detach().numpy() for x in each] for name, each in found.items()}, gradients


@pytest.mark.proves(
    74, "both branches equal transformers' VideoMAE and ViTMAE: features, predictions, losses"
)
def test_branches_equal_transformers():
    terms, tokens, outputs, _ = run()
    expected, _ = theirs()
    noise, hidden, _ = arrays()
    own = dict(zip(("video", "frame", "second"), np.split(tokens, [18, 22], axis=1), strict=True))
    places = {"video": hidden[:, :72], "second": hidden[:, 88:], "frame": hidden[:, 72:88]}
    for name, (features, predictions, loss) in expected.items():
        close(terms[name], loss, name=f"loss of {name}")
        masked_tokens = np.nonzero(places[name])[1].reshape(EXAMPLES, -1, 1)
        if name == "frame":
            # Theirs: the class token first, then tokens in the order of their noise.
            order = np.argsort(np.argsort(noise, axis=1)[:, :4], axis=1)
            features = np.take_along_axis(features[:, 1:], order[..., None], axis=1)
            predictions = np.take_along_axis(predictions, masked_tokens, axis=1)
        close(own[name], features, name=f"features of {name}")
        ours = np.take_along_axis(np.asarray(outputs[name]), masked_tokens, axis=1)
        close(ours, predictions, name=f"predictions of {name}")


@pytest.mark.proves(74, "all gradients of both reconstructions equal transformers'")
def test_gradients_equal_transformers():
    _, _, _, gradients = run()
    total = jax.tree.map(lambda *x: sum(x), *(gradients[name][0] for name in (*CLIPS, "frame")))
    expected = dict(named_leaves(theirs()[1]))
    ours = dict(named_leaves(total))
    assert set(expected) == {
        name for name in ours if "projector" not in name and "of_frames" not in name
    }
    for path, leaf in expected.items():
        close(ours[path], leaf, name=path)


REACHED = {
    "video": ("encoder/", "decoder/"),
    "second": ("encoder/", "decoder/"),
    "frame": ("image/",),
    "intra": ("encoder/", "projector/"),
    "cross": ("encoder/", "image/encoder/", "projector/", "of_frames/"),
}
SHOWN = {"intra": CLIPS, "cross": (*CLIPS, "frame")}


@pytest.mark.proves(74, "the cross term reaches both encoders and no decoder, intra one alone")
def test_what_each_term_reaches():
    _, _, _, gradients = run()
    for term, reached in REACHED.items():
        params, batch = gradients[term]
        for path, leaf in named_leaves(params):
            assert np.any(leaf) == path.startswith(reached), (term, path)
        streams = {name for name, leaf in batch.items() if np.any(leaf)}
        assert streams == set(SHOWN.get(term, (term,))), term


@pytest.mark.proves(74, "hidden pixels enter no contrast")
def test_hidden_pixels_enter_no_contrast():
    _, _, _, gradients = run()
    hidden = np.split(arrays()[1], [72, 88], axis=1)
    for name, places in zip(("video", "frame", "second"), hidden, strict=True):
        cut = method().net.patchify({name: gradients["cross"][1][name]})[name]
        np.testing.assert_array_equal(np.any(cut, axis=-1), ~places)


def test_an_example_of_other_counts_is_nan():
    hidden = arrays()[1].copy()
    first, other = np.flatnonzero(hidden[0, :72])[0], 72 + np.flatnonzero(~hidden[0, 72:88])[0]
    hidden[0, [first, other]] = False, True
    mask = from_hidden(jnp.asarray(hidden), count=2 * 54 + 12)
    net, batch = method().net, arrays()[2]
    tokens = jax.jit(lambda p: net.encode(p, net.inputs(batch), mask).tokens)(params())
    assert np.isnan(tokens[0]).all() and np.isfinite(tokens[1:]).all()


def test_one_stream_is_its_branch_alone():
    net, batch = method().net, arrays()[2]
    alone = sizes()["video"](spec()._replace(streams={}))
    inputs = net.inputs({"video": batch["video"]})
    encoded = net.encode(params(), inputs, None)
    np.testing.assert_array_equal(
        encoded.tokens, alone.encode(params(), inputs["video"], None).tokens
    )
    with pytest.raises(ModelError, match="give every stream"):
        net.encode(params(), inputs, given_mask(None, None))
    with pytest.raises(ModelError, match="one stream"):
        net.encode(params(), net.inputs(batch), None, capture=("layers",))


def test_streams_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match="at least one picture"):
        NET(spec()._replace(streams={}))
    small = Spec((8, 8), 3, *PLAIN, stream="small")
    with pytest.raises(ModelError, match="differ in their sizes"):
        NET(spec(small=small))
    with pytest.raises(ModelError, match="ratios differ"):
        NET(spec(), ratios={"second": 0.5})
    with pytest.raises(ModelError, match="widths"):
        NET(spec(), image=partial(sizes()["image"], variant="2x48x3"))
