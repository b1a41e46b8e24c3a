"""Nothing that is read can make the program run code; figure R15.

What this cannot promise: a config names functions by dotted path, and running a config, also the
stored one of somebody's work directory, calls them. grain sends batches between its own processes
with Python's pickle; no file is read by it.
"""

import ast
import io
import json
import pickle
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from maskmim.checkpoints.reader import attach_shardings, restore_newest
from maskmim.checkpoints.writer import Checkpoints
from maskmim.data.array_record import shards
from maskmim.data.decode import decode
from maskmim.data.folder import unlabelled
from maskmim.data.records import BadImage
from maskmim.data.shard_format import Index, write_index, write_shard
from maskmim.interop.layout import WeightsError
from maskmim.interop.layout import read_arrays as read_weights
from maskmim.teachers.noise_bank import BankError, read_patterns
from maskmim.training.sharding import make_mesh, replicated
from tests.data import files
from tests.running import ROOT

FOLDERS = ("maskmim", "configs", "launch", "benchmarks", "docs")
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# They write files under names that an archive gives; archives are read in place (figure R14).
EXTRACTORS = ("extractall", "unpack_archive")
CALLS = {"eval", "exec", "__import__", "compile"}
# The only place that runs a text: a config file, which its user names on the command line.
ALLOWED = {("maskmim/config/python_file.py", "exec"), ("maskmim/config/python_file.py", "compile")}


def dangers(tree):
    """Yield the imports and calls of a module that could run what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call):
            yield from dangerous_call(node)
            continue
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in MODULES)


def dangerous_call(node):
    function, keywords = ast.unparse(node.func), {word.arg: word.value for word in node.keywords}
    if function in CALLS:
        yield function
    if function == "torch.load" or function.rpartition(".")[2] in ("read_pickle", *EXTRACTORS):
        yield function
    allow = keywords.get("allow_pickle")
    if allow is not None and not (isinstance(allow, ast.Constant) and allow.value is False):
        yield f"{function}(allow_pickle=...)"
    loads = function in ("yaml.load", "yaml.unsafe_load", "yaml.full_load")
    if loads and "Loader" not in keywords:
        yield function


def test_the_sources_read_no_pickles_and_run_no_texts():
    calls, count = set(), 0
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            name, count = path.relative_to(ROOT).as_posix(), count + 1
            calls |= {(name, danger) for danger in dangers(ast.parse(path.read_text("utf-8")))}
    assert count > 150
    assert calls == ALLOWED


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from dill import loads",
        "def f():\n import cloudpickle.x",
        "eval('1')",
        "exec(text)",
        "__import__(name)",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "yaml.load(file)",
        "archive.extractall(folder)",
        "shutil.unpack_archive(path)",
    ],
)
def test_dangers_are_recognised(text):
    assert list(dangers(ast.parse(text)))


def test_harmless_calls_are_no_dangers():
    text = (
        "re.compile(x)\nnp.load(p, allow_pickle=False)\nmodel.eval()\njax.jit(f).lower().compile()"
    )
    assert not list(dangers(ast.parse(text)))


HEARD: list[tuple[str, str]] = []
LISTENING = [False]


def listen(event, details):
    """Record audit events while LISTENING; a hook cannot be removed from a process."""
    if LISTENING[0] and event in ("pickle.find_class", "import", "exec", "os.system"):
        HEARD.append((event, str(details[0])[:200]))


@pytest.fixture
def heard():
    """Yield a list of what is unpickled, imported or executed from now on."""
    if listen not in HOOKS:
        sys.addaudithook(listen)
        HOOKS.append(listen)
    HEARD.clear()
    LISTENING[0] = True
    yield HEARD
    LISTENING[0] = False


HOOKS: list = []


class Bomb:
    """A pickle of it imports `maskmim_planted` when it is read."""

    def __reduce__(self):
        return __import__, ("maskmim_planted",)


BOMB = pickle.dumps(Bomb())


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Yield a folder; a module that data may name can be imported from it."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "maskmim_planted.py").write_text("def brick():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    yield tmp_path
    sys.modules.pop("maskmim_planted", None)


def assert_nothing_ran(heard):
    assert "maskmim_planted" not in sys.modules
    assert not [one for one in heard if one[0] in ("pickle.find_class", "os.system")]
    assert not [one for one in heard if one[0] == "import" and "planted" in one[1]]


def test_the_bomb_works_and_is_heard(planted, heard):
    pickle.loads(BOMB)
    assert "maskmim_planted" in sys.modules
    assert ("pickle.find_class", "builtins") in heard
    assert ("import", "maskmim_planted") in heard


def test_checkpoints_run_nothing(planted, heard):
    """Not what their JSON names, nor what lies beside their arrays, nor pickles in their place."""
    state = {"params": {"w": jnp.arange(600.0)}}
    shapes = jax.eval_shape(lambda: state)
    whole = replicated(make_mesh({"data": -1, "fsdp": 1, "tensor": 1}))
    like = attach_shardings(shapes, jax.tree.map(lambda _: whole, shapes))
    config = json.dumps({"model": {"brick": "maskmim_planted.brick"}, "py": "!!python/name:os"})
    checkpoints = Checkpoints(planted / "run")
    for step in (1, 2):
        checkpoints.save(step, state, {"step": step, "__reduce__": "maskmim_planted"}, config)
    checkpoints.close()
    folder = planted / "run" / "checkpoints"
    (folder / "1" / "__init__.py").write_text("import maskmim_planted")
    restored = restore_newest(planted / "run", like)
    assert restored.step == 2 and json.loads(restored.config)["model"]["brick"]
    for path in (folder / "2").rglob("*"):
        if path.is_file():
            path.write_bytes(BOMB)
    (folder / "checksums" / "2.json").unlink()
    assert restore_newest(planted / "run", like).step == 1
    again = Checkpoints(planted / "run")
    assert again.restore(like).step == 1
    again.close()
    assert_nothing_ran(heard)


def test_weights_run_nothing(planted, heard):
    """Of safetensors, of torch's own files under that name, and of numpy's."""
    save_file({"w": np.ones(3, np.float32)}, planted / "good.safetensors")
    assert read_weights(planted / "good.safetensors")["w"].sum() == 3
    (planted / "bad.safetensors").write_bytes(BOMB)
    with pytest.raises(WeightsError, match="pickle"):
        read_weights(planted / "bad.safetensors")
    np.savez(planted / "bank.npz", noise=np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(BankError, match="cannot be read as numbers: Object arrays"):
        read_patterns(planted / "bank.npz")
    assert_nothing_ran(heard)


def test_data_run_nothing(planted, heard):
    """Not image files that are pickles, nor such records of shards, nor their index."""
    (planted / "photos").mkdir()
    (planted / "photos" / "bomb.png").write_bytes(BOMB)
    with pytest.raises(BadImage):
        decode(unlabelled(path=str(planted / "photos"))[0].encoded)
    good = files.encoded(files.picture(0), "PNG")
    out = planted / "shards"
    out.mkdir()
    entries = [("a", {}, BOMB), ("b", {}, good), ("c", {}, pickle.dumps(np.array([Bomb()])))]
    shard = write_shard(out / "x.array_record", entries)
    write_index(out, Index({}, (shard,)))
    records = shards(path=str(out))
    assert decode(records[1].encoded).shape == (20, 30, 3)
    for index in (0, 2):
        with pytest.raises(BadImage):
            decode(records[index].encoded)
    array = io.BytesIO()
    np.save(array, np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(BadImage):
        decode(array.getvalue())
    assert_nothing_ran(heard)


def test_the_folders_that_are_searched_exist():
    assert all(Path(ROOT, folder).is_dir() for folder in FOLDERS)
