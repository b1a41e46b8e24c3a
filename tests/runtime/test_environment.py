"""What jax's configuration decides about a run is pinned or named."""

import ast
import functools
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import maskmim
from maskmim import errors
from maskmim.runtime import exits
from maskmim.runtime.environment import PINNED, ROUNDING, drawing, pin_randomness, rounding
from maskmim.train import main
from maskmim.types import Randomness, random_key
from tests.running import ROOT, SMALL, as_tests, environment, run

WRONG = {
    "JAX_ENABLE_X64": "1",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_RANDOM_SEED_OFFSET": "5",
}
PACKAGE = Path(maskmim.__file__).parent
# Where the dtype stands among the arguments of a draw.
PLACES = {"uniform": 2, "normal": 2, "gumbel": 2, "bits": 2, "randint": 4, "truncated_normal": 4}


@functools.cache
def calls_of_random():
    """Return (place, function, call) of every call of jax.random in the package."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("jax.random."):
                where = f"{file.relative_to(PACKAGE)}:{node.lineno}"
                found.append((where, ast.unparse(node.func).removeprefix("jax.random."), node))
    return found


def test_keys_are_made_by_one_function():
    made = [where for where, name, _ in calls_of_random() if name in ("key", "PRNGKey")]
    assert len(made) == 1 and made[0].startswith("types/randomness.py"), (
        "use maskmim.types.random_key"
    )


def test_every_draw_names_its_dtype():
    """jax draws other numbers in 64 bits, which JAX_ENABLE_X64 makes the default."""
    unnamed = [
        where
        for where, name, call in calls_of_random()
        if name in PLACES
        and len(call.args) <= PLACES[name]
        and not any(isinstance(each, ast.Starred) for each in call.args)
        and "dtype" not in [keyword.arg for keyword in call.keywords]
    ]
    assert not unnamed, "give the dtype"


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 2**32 - 1, -1])
def test_a_seed_has_one_key(seed):
    plain = jax.random.key_data(random_key(seed))
    with jax.enable_x64(True), jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(plain, jax.random.key_data(random_key(seed)))


def test_examples_draw_for_themselves_where_rbg_is_the_default():
    """jax's rbg draws a whole vmap from the first key, so that a mask depends on its neighbours."""
    with jax.default_prng_impl("rbg"):
        whole = Randomness.of(random_key(0), 4)
        draw = jax.vmap(lambda key: jax.random.uniform(key, (3,), jnp.float32))
        parts = [draw(Randomness(whole.key, whole.slots[i::2]).each("mask")) for i in (0, 1)]
        together = draw(whole.each("mask"))
    np.testing.assert_array_equal(together[0::2], parts[0])
    np.testing.assert_array_equal(together[1::2], parts[1])


def test_names_are_values_of_jax():
    assert pin_randomness() == []
    assert set(drawing()) == set(PINNED) and set(rounding()) == set(ROUNDING)


def test_other_values_are_pinned_and_named():
    script = "from maskmim.runtime.environment import *; print(*pin_randomness(), drawing())"
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(**WRONG),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name, value in WRONG.items():
        assert f"{name}=" in result.stdout, value
    assert str({name: str(value) for name, value in PINNED.items()}) in result.stdout


@pytest.mark.full
def test_a_training_is_the_same_in_another_environment(tmp_path, capsys):
    """In a process of its own, and here in the environment of the tests, which compile alike."""
    settings = ["train.epochs=0.2", "schedule.warmup_epochs=0", "evals.at_end=", "evals.monitors="]
    flags = ["--config=mae:tiny", *SMALL, *(f"--config.{setting}" for setting in settings)]
    wrong, plain = (f"--workdir={tmp_path / name}" for name in ("wrong", "plain"))
    result = run("train", *flags, wrong, **as_tests(), **WRONG)
    assert result.returncode == errors.DONE, result.stderr
    assert exits.run(main, [*flags, plain]) == errors.DONE
    ignored = "JAX_ENABLE_X64=True is ignored"
    assert ignored in result.stderr and ignored not in capsys.readouterr().err
    losses = []
    for name in ("plain", "wrong"):
        lines = (tmp_path / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        losses.append([row["loss"] for row in rows if "loss" in row])
    assert len(losses[0]) > 2 and losses[0] == losses[1]
