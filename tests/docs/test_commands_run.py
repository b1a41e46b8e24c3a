"""The commands of the main pages run, one after the other, on small data in a folder of their own.

Trainings take their config's `tiny`, or a few steps; folders below /data are made of embedded
photographs. exceptions.py says what is left out, and why.
"""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from maskmim.config.python_file import config_files
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from tests.config.test_documented_flags import SAVED
from tests.docs.exceptions import NOT_CHECKED, NOT_RUN
from tests.docs.fences import commands, fences
from tests.running import ROOT, as_tests, environment

pytestmark = pytest.mark.slow

# Pages of commands that a reader gives one after the other, where they exist.
NAMES = ["tour", "data", "evaluation", "masks", "weights", "add_a_method"]
NAMES += ["runs", "python", "export", "embed"]
NAMES += ["finetuning", "probes", "robustness"]
PAGES = [f"docs/{name}.md" for name in NAMES if (ROOT / f"docs/{name}.md").exists()]
PAGES.insert(0, "README.md")
# A few steps of a small model for configs that have no `tiny`.
FEW_STEPS = [
    "train.epochs=0.01",
    "train.batch_size=8",
    "model.variant=nano",
    "evals.at_end=knn,reconstruction",
    "evals.measures.held_out.images=32",
    "schedule.warmup_epochs=0.001",
]
SMALLEST_SPLIT = ["data.train.split=val", "evals.train.split=val", "evals.test.split=val"]
# Runs that a page reads and leaves to the reader to train.
READ = ("runs/a", "runs/b", "runs/c", "runs/q", "runs/quickstart", "runs/videomae")


def smaller(words, data):
    """The words of a training, with a tiny config; of other commands, with folders that exist."""
    words = [word.replace("/data/", f"{data}/") for word in words]
    if words[1] != "maskmim.train" or "--config" not in words:
        return words
    place = words.index("--config") + 1
    name, _, argument = words[place].partition(":")
    file = config_files().get(name)
    if file is not None and "tiny=False" in file.read_text():
        choices = [*filter(None, argument.split(",")), "tiny"]
        words[place] = f"{name}:{','.join(dict.fromkeys(choices))}"
        return words
    own = any(word.startswith("--config.data.train.brick") for word in words)
    steps = [*FEW_STEPS, *(SMALLEST_SPLIT if name == "quickstart" and not own else ())]
    if name == "folder":
        steps = [step for step in steps if "held_out" not in step]
    if "series" in name:
        steps = [step for step in steps if "held_out" not in step and "variant" not in step]
    return [*words, *(f"--config.{step}" for step in steps)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders of photographs, with classes and without, and of 16-bit pictures."""
    folder = tmp_path_factory.mktemp("data")
    records = grocery(split="val")
    for index in range(24):
        pixels = decode(records[index].encoded)
        kind = ("apple", "pear")[index % 2]
        for place in ("photos", f"train/{kind}", f"val/{kind}", f"classes/{kind}"):
            (folder / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / place / f"{index}.jpg")
        (folder / "scans").mkdir(exist_ok=True)
        grey = pixels[..., 0].astype(np.uint16) * 200
        Image.fromarray(grey).save(folder / "scans" / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A small finished run of ColorMAE."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["-m", "maskmim.train", "--config", "colormae:tiny", "--workdir", str(folder)]
    assert run(words, folder.parent).returncode == 0
    return folder


def run(words, folder, changes=()):
    """Run Python in a folder; programs are compiled as in the tests."""
    env = environment(**as_tests())
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(folder), str(ROOT / "docs/examples")])
    env |= {name: value for name, value in dict(changes).items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture
def place(tmp_path, runs, data):
    """A folder as a reader has it: configs, docs and photographs beside it, and earlier runs."""
    (tmp_path / "photos").symlink_to(data / "photos")
    for name in ("docs", "benchmarks", "launch", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "runs").mkdir()
    for name in READ:
        subprocess.run(["cp", "-r", runs, tmp_path / name], check=True)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page, place, data):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name, code in SAVED.findall(text):
        (place / name).write_text(code)
    failed, done = [], set()
    # A page may read shards before it says how they are made.
    for command in sorted(
        commands(ROOT / page), key=lambda each: "maskmim.convert" not in each.words
    ):
        label = f"{page}: {command.text}"
        if any(re.search(pattern, label) for pattern in [*NOT_CHECKED, *NOT_RUN]):
            continue
        if command.in_prose or command.text in done or command.words[0] != "python":
            continue
        done.add(command.text)
        words = smaller(list(command.words[1:]), data)
        trained = place / words[words.index("--workdir") + 1] if "--workdir" in words else None
        if "maskmim.train" in words and trained and trained.exists():
            subprocess.run(["rm", "-r", trained], check=True)
        result = run(words, place, command.environment)
        if result.returncode:
            failed.append(f"{' '.join(words)}\n{result.stdout[-500:]}{result.stderr[-1500:]}")
        elif "maskmim.train" in words and trained and "--print-config" not in words:
            assert "failed" not in json.loads((trained / "results.json").read_text())
    assert not failed, "\n\n".join(failed)


@pytest.mark.skipif(not (ROOT / "docs/python.md").exists(), reason="the page is not written yet")
def test_the_python_of_the_tour_runs(place, data):
    blocks = [text for _, language, text in fences(ROOT / "docs/tour.md") if language == "python"]
    (place / "tour.py").write_text("\n".join(blocks).replace("/data/", f"{data}/"))
    result = run(["tour.py"], place)
    assert result.returncode == 0, result.stderr[-2000:]
