"""MGMAE and MGM: masks as their small configs draw them, on moving objects with exact flow."""

from __future__ import annotations

from functools import cache

import jax
import numpy as np
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.masks import motion, uniform, video, warped
from maskmim.types import Context
from tests.masks.video_clips import draw

pytestmark = pytest.mark.full

EXACT = "mgmae:small"
CLIPS, DRAWS, GRID = 32, 4, (4, 8, 8)
COUNT = DRAWS * CLIPS  # Several masks are drawn for each clip.


@cache
def clips():
    """Sprites of the small configs: the batch, and the share of each token that is the object's."""
    config = load("mgmae:small")
    config.data.train.count = CLIPS
    records = bind(config.data.train)()
    examples = [records[index] for index in range(CLIPS)]
    batch = {
        "video": np.stack([example.encoded for example in examples]),
        "flow": np.stack([example.fields["flow"] for example in examples]),
    }
    there = np.stack([example.fields["object"] for example in examples])[:, ::2, ..., 0]
    share = there.reshape(CLIPS, *GRID[:2], 8, GRID[2], 8).mean((3, 5))
    return batch, np.tile(share, (DRAWS, 1, 1, 1))


@cache
def flow_of(argument):
    """The flow of tokens that the teacher of a config gives: f32[B, T, h, w, 2]."""
    teacher = bind(load(argument).teachers.motion)()

    @jax.jit
    def run(batch):
        context = Context(batch, {"video": GRID}, {})
        return teacher.find(None, (), (), context, None)["flow"]

    return np.tile(np.asarray(run(clips()[0])), (DRAWS, 1, 1, 1, 1))


def hidden(sampler, ratio, argument=None):
    """What a sampler hides of the clips, by the flow of a config: bool[B, T, h, w]."""
    hints = {"flow": flow_of(argument)} if argument else {}
    mask = draw(sampler, GRID, count=COUNT, hints=hints, ratio=ratio)
    return mask.hidden.reshape(COUNT, *GRID)


def along(flow, step):
    """Places of a time step and the nearest ones in the next, (example, row, column) each."""
    places = np.argwhere(np.ones((COUNT, *GRID[1:]), bool))
    by = flow[places[:, 0], step, places[:, 1], places[:, 2]]
    goals = np.rint(places[:, 1:] + by).astype(int)
    inside = ((goals >= 0) & (goals < GRID[1:])).all(1)
    goals = np.concatenate([places[:, :1], goals], axis=1)
    return places[inside].T, goals[inside].T


def moving_tokens():
    """Tokens whose middle moves half a token or more in a time step: bool[B, T, h, w]."""
    return np.abs(flow_of(EXACT)).max(-1) >= 0.5


def followed(visible):
    """Of visible tokens that move, the share whose goal is visible."""
    found = []
    for step in range(GRID[0] - 1):
        places, goals = along(flow_of(EXACT), step)
        moving = (visible & moving_tokens())[places[0], step, places[1], places[2]]
        found.append(visible[goals[0], step + 1, goals[1], goals[2]][moving])
    found = np.concatenate(found)
    assert len(found) > 100, len(found)
    return found.mean()


def copied(hidden):
    """Of hidden goals of tokens that move, the share whose token was visible."""
    flow, moving = flow_of(EXACT), moving_tokens()
    reached = total = 0
    for step in range(GRID[0] - 1):
        places, goals = along(flow, step)
        part = moving[places[0], step, places[1], places[2]]
        seen = ~hidden[places[0], step, places[1], places[2]]
        gone = hidden[goals[0], step + 1, goals[1], goals[2]]
        reached += (seen & gone & part).sum()
        total += (gone & part).sum()
    return reached / total


@pytest.mark.proves(
    54, "where a visible token goes is visible more than twice as often as under tubes"
)
@pytest.mark.parametrize("argument", [EXACT, "mgmae:found,small"])
def test_visible_tokens_follow_the_object(argument):
    gone = hidden(warped.tube, 0.9, argument)
    np.testing.assert_array_equal(gone.sum((2, 3)), 58)
    ours, still = followed(~gone), followed(~hidden(video.tube, 0.9))
    print(f"{argument}: goals visible {ours:.2f}, of tubes {still:.2f}")
    assert ours > 2.5 * still


@pytest.mark.proves(54, "of a moving object less can be copied along the flow than under tubes")
def test_less_can_be_copied_along_the_flow():
    ours, still = copied(hidden(warped.tube, 0.9, EXACT)), copied(hidden(video.tube, 0.9))
    print(f"copied along the flow {ours:.3f}, under tubes {still:.3f}")
    assert ours < still / 2


@pytest.mark.proves(30, "on clips, the block hides the moving object; random masks do not")
def test_the_block_hides_the_moving_object():
    share = clips()[1]
    gone = hidden(motion.block, load("mgm:small").mask.ratio, "mgm:small")
    np.testing.assert_array_equal(gone.sum((2, 3)), 48)
    random = hidden(uniform.random, 0.75)
    shown, by_chance = ((share * ~each).sum() / share.sum() for each in (gone, random))
    print(f"of the object is visible {shown:.2f}, by chance {by_chance:.2f}")
    assert shown < by_chance / 2


@pytest.mark.proves(30, "the matched block follows the object in more than 90 % of the time steps")
def test_the_block_follows_the_object():
    """The object's centre lies within a token of the nearest place that the block can take."""
    share = clips()[1]
    gone = hidden(motion.block, 0.25, "mgm:small")
    middles, centres = centre(gone), centre(share)
    reachable = np.clip(centres, 1.5, 5.5)  # of blocks of 4 x 4 on 8 x 8 tokens
    off = np.abs(middles - reachable).max(-1)
    print(f"within a token {(off <= 1).mean():.3f}, quantiles {np.quantile(off, [0.5, 0.9, 1])}")
    assert (off <= 1).mean() > 0.9


def centre(weights):
    """The mean place of each time step: [B, T, h, w] -> f64[B, T, 2]."""
    places = np.stack(np.indices(GRID[1:]), -1)
    total = weights.sum((2, 3))[..., None]
    return (weights[..., None] * places).sum((2, 3)) / total


def test_the_published_recipes():
    mgmae, mgm = load("mgmae"), load("mgm")
    assert (mgmae.train.epochs, mgmae.train.batch_size, mgmae.data.repeats) == (200, 1536, 4)
    optim = mgmae.optim
    assert (optim.lr, optim.lr_per, optim.b2, optim.weight_decay) == (1e-3, 1024, 0.95, 0.05)
    assert (mgmae.schedule.warmup_epochs, mgmae.schedule.final) == (20, 0.01)
    assert (mgmae.mask.ratio, mgmae.data.decode.stride) == (0.9, 4)
    assert (mgm.train.epochs, mgm.train.batch_size, mgm.mask.ratio) == (1600, 2048, 0.75)
    assert (mgm.optim.lr, mgm.optim.lr_per, mgm.model.decoder) == (1.5e-4, 256, "4x384x6")
