"""Programs of jax.export and graphs of ONNX: run without maskmim, with the features of the run."""

import importlib.util
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from maskmim.exports.subject import ExportError
from maskmim.exports.targets import prepare
from maskmim.exports.unrolled import unrolled
from tests.exports.subjects import difference, encode, inputs_of, subject_of
from tests.tolerances import PARITY, REORDERED

pytestmark = pytest.mark.full

# Begins a process in which maskmim cannot be imported, and runs the lines of a card.
ALONE = """
import sys
sys.modules["maskmim"] = None
FOLDER, DATA = sys.argv[1:]
from safetensors.numpy import load_file as read, save_file as write
import numpy
lines, images = open(FOLDER + "/README.md").read(), read(DATA + "/in.safetensors")["images"]
code = lines.partition("```python")[2].partition("```")[0].split("\\n", 2)[2]
begin, blank, rest = code.partition("images = ")
exec(begin)
exec(rest.partition("\\n")[2])
write(NAMES, DATA + "/out.safetensors")
"""
NETWORKS = {
    "vit": ("mae:tiny", ()),
    "convolutions": ("convnext_v2:tiny", ()),
    "rotary positions": ("capi:tiny", ()),
}


def pixels_of(subject):
    """Return inputs as programs take them: in [0, 1], before the normalisation."""
    spec = subject.spec
    return (inputs_of(subject) * np.asarray(spec.std) + np.asarray(spec.mean)).astype(np.float32)


def run_alone(folder, images, names):
    """Run the lines of the card in a process without maskmim; return the arrays called `names`."""
    save_file({"images": images}, folder / "in.safetensors")
    script = ALONE.replace("NAMES", names)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": ""}
    words = [sys.executable, "-c", script, str(folder), str(folder)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr[-2000:]
    return load_file(folder / "out.safetensors")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_program_encodes_and_learns_without_maskmim(name, tmp_path):
    config, changes = NETWORKS[name]
    subject = subject_of(config, *changes)
    prepare(subject, "a run", "jax", encoder_only=False).fill(tmp_path)
    before = load_file(tmp_path / "model.safetensors")
    assert all(path.startswith("encoder/") for path in before)
    made = run_alone(
        tmp_path,
        pixels_of(subject),
        '{"tokens": numpy.asarray(tokens), "loss": numpy.asarray(loss(params)), '
        '"old": numpy.asarray(abs(tokens).mean()), '
        "**{'p/' + name: numpy.asarray(a) for name, a in params.items()}}",
    )
    _, tokens = encode(subject, inputs_of(subject))
    assert difference(made["tokens"], tokens) < REORDERED
    assert made["loss"] < made["old"]  # after the gradient step of the card
    moved = [path for path in before if not np.array_equal(before[path], made[f"p/{path}"])]
    assert {"encoder/embed/kernel", "encoder/stem/kernel"} & set(moved)


@pytest.mark.skipif(
    importlib.util.find_spec("jax2onnx") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="jax2onnx or onnxruntime is not installed",
)
@pytest.mark.parametrize("name", ["vit", "convolutions"])
def test_a_graph_of_onnx_encodes(name, tmp_path):
    """Within 1e-4, relative: onnxruntime sums in another order and approximates erf."""
    import onnx

    config, changes = NETWORKS[name]
    subject = subject_of(config, *changes)
    prepare(subject, "a run", "onnx", encoder_only=False).fill(tmp_path)
    made = run_alone(tmp_path, pixels_of(subject), '{"tokens": tokens}')
    _, tokens = encode(subject, inputs_of(subject))
    assert difference(made["tokens"], tokens) < PARITY
    operations = {node.op_type for node in onnx.load(tmp_path / "encode.onnx").graph.node}
    assert "MatMul" in operations or "Conv" in operations
    assert not operations & {"Loop", "Scan", "If"}


def test_loops_are_unrolled():
    def running(x, table):
        def step(total, row):
            return total * 0.5 + row, total.sum()

        total, sums = jax.lax.scan(step, x, table, reverse=True)
        return jax.lax.scan(lambda c, _: (jax.jit(jnp.sin)(c), None), total, length=3)[0], sums

    x, table = np.ones(3, "f4"), np.arange(12, dtype="f4").reshape(4, 3)
    closed = jax.make_jaxpr(running)(x, table)
    plain = unrolled(closed)
    assert "scan" in str(closed) and "scan" not in str(jax.make_jaxpr(plain)(x, table))
    for ours, expected in zip(plain(x, table), running(x, table), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=REORDERED)


def test_what_needs_more_than_the_encoder_is_refused():
    subject = subject_of("vqgan:tiny")
    with pytest.raises(ExportError, match="need a codebook"):
        prepare(subject, "a run", "jax", encoder_only=False)
    two = subject._replace(net=subject.net._replace(grids={"image": (2, 2), "depth": (2, 2)}))
    with pytest.raises(ExportError, match=r"several streams \(image, depth\)"):
        prepare(two, "a run", "jax", encoder_only=False)
