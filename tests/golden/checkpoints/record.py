"""Records the golden checkpoints of this version: `python -m tests.golden.checkpoints.record`.

Run it once for each released version, and keep the folders of the earlier ones: the test reads all
of them. It trains very small networks for some steps, MAE and HPM (two objectives, an averaged
teacher), and writes

  v<version>/config.json, checkpoints/   what a training leaves, without pictures and logs
  v<version>/recorded.json               sums of the whole state, and what the network gives
  v<version>-hpm/                        the same of HPM
"""

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

from maskmim import __version__, errors
from maskmim.checkpoints.load_run import load_trained
from maskmim.checkpoints.reader import attach_shardings, restore_newest
from maskmim.checkpoints.workdir import load_config
from maskmim.config.bricks import bind
from maskmim.runtime import exits
from maskmim.train import main
from maskmim.training.build import assemble
from maskmim.tree_paths import named_leaves

HERE = Path(__file__).parent
FLAGS = (
    "--config.input.size=16,16",
    "--config.model.variant=1x8x2",
    "--config.model.patch=4,4",
    "--config.model.decoder_width=8",
    "--config.train.epochs=0.25",
    "--config.evals.at_end=()",
    "--config.log.pictures_every_epochs=0",
    "--config.checkpoint.keep_latest=1",
    "--config.process.compile_cache=",
)


def sums(tree) -> dict[str, str]:
    """sha256 of the bytes of every array, by its path."""
    return {
        name: hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).hexdigest()[:16]
        for name, leaf in named_leaves(tree)
    }


def features(workdir: Path) -> np.ndarray:
    """What the network gives for two fixed pictures: f32[2, tokens, width]."""
    run = load_trained(workdir)
    pictures = np.arange(2 * np.prod(run.spec.shape)).reshape(2, *run.spec.shape) * 7 % 251
    batch = {"image": pictures.astype(np.uint8)}
    return np.asarray(run.method.apply["encode"](run.variables, batch).tokens)


def flags_of(folder: str) -> tuple[str, ...]:
    """The command line that trained a folder: v0.1.0 holds MAE, v0.1.0-hpm HPM."""
    return f"--config={folder.partition('-')[2] or 'mae'}:tiny", *FLAGS


def record(target: Path) -> None:
    """Trains and writes a folder; what was there is replaced."""
    with tempfile.TemporaryDirectory() as place:
        workdir = Path(place) / "run"
        if exits.run(main, [*flags_of(target.name), f"--workdir={workdir}"]) != errors.DONE:
            sys.exit("the training failed")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        shutil.copytree(workdir / "checkpoints", target / "checkpoints")
        shutil.copy(workdir / "config.json", target)
    config = load_config(target)
    examples = len(bind(config.data.train)())
    parts = assemble(config, examples)
    found = restore_newest(target, attach_shardings(parts.shapes, parts.shardings)._asdict())
    recorded = {
        "version": __version__,
        "jax": jax.__version__,
        "examples": examples,
        "step": found.step,
        "sums": sums(found.state),
        "features": features(target).round(6).tolist(),
    }
    (target / "recorded.json").write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    for name in (f"v{__version__}", f"v{__version__}-hpm"):
        record(HERE / name)
