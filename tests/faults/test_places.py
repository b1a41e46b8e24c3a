"""Odd files in an odd place, an odd user and an odd clock make a run like any other; figure R27.

One training, started twice, meets everything at once, so that it costs two starts. A clock that
leaps forward while a checkpoint is written is not among it: Orbax takes its limit on waiting for
reached, and the save after that is the one that counts.
"""

import json
import os
import stat
import subprocess

import pytest
from PIL import Image

from maskmim.reporting.metrics_log import read_metrics
from tests.data.files import bad_files, encoded, odd_files, picture, write
from tests.running import ROOT, command, environment

pytestmark = pytest.mark.full

# Blanks, a line break, and what means something to shells, URLs, format strings and configs.
ODD = "Bild er=50%,é\n日本 #1?&{0}"
# File systems take 255 bytes for a name, and Linux 4096 for a path.
DEEP = "/".join(f"{number}{'langer Name ' * 9}" for number in range(6))
# The year is 1995 and time runs backwards; Python imports this file by itself.
CLOCK = """
import time
now, begun = time.time, time.time()
time.time = lambda: 8e8 - (now() - begun)
"""


def listing(folder):
    """Return every path below a folder with its size and modification time."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Yield a read-only folder of photographs, some odd and some broken."""
    folder = tmp_path_factory.mktemp("data") / ODD
    good = {f"ü=%\n,{i}/{i}.jpg": encoded(picture(i, (60, 80, 3)), "JPEG") for i in range(24)}
    broken = {f"kaputt\tü\n {name}": content for name, content in bad_files().items()}
    write(folder, {**good, **odd_files(), **broken})
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


@pytest.fixture(scope="module")
def runs(photos, tmp_path_factory):
    """Return the results of two starts of one training, its work directory, and the caller's."""
    here = tmp_path_factory.mktemp("here")
    (here / "clock").mkdir()
    (here / "clock" / "sitecustomize.py").write_text(CLOCK)
    words = command(
        "train",
        f"--config={ROOT}/configs/folder.py:path=x,size=32,variant=nano,patch=8,epochs=2,batch=8",
        f"--config.data.train.path={photos}",
        f"--workdir={ODD}/{DEEP}",
        "--config.model.decoder_depth=1",
        "--config.model.decoder_width=32",
        "--config.model.decoder_heads=2",
        "--config.schedule.warmup_epochs=0.5",
        "--config.evals.at_end=knn",
        "--config.log.pictures_every_epochs=0",
    )
    results = []
    for locale in ("C", "tr_TR.UTF-8"):
        around = environment(LC_ALL=locale, PYTHONPATH=f"{here / 'clock'}:{ROOT}")
        del around["HOME"]
        result = subprocess.run(
            words,
            cwd=here,
            env=around,
            umask=0o077,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        results.append(result)
    return results, here / ODD / DEEP, here


def test_it_trains_to_the_end_and_knows_so_afterwards(runs):
    (first, second), workdir, _ = runs
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    assert "step 11/11" in first.stderr
    assert "step" not in second.stderr and "This run is complete: 11 steps" in second.stdout
    assert "evals.train" in first.stdout  # no labels: says how to get probes
    for said in (first.stderr, second.stderr):
        assert "could not be saved" not in said and "Traceback" not in said, said
    assert (workdir / "checkpoints" / "11").is_dir()
    assert [row["step"] for row in read_metrics(workdir / "metrics.jsonl") if "loss" in row] == [
        1,
        10,
        11,
    ]
    assert json.loads((workdir / "config.json").read_text("utf-8"))["data"]["train"]["path"]


def test_broken_files_are_listed_a_line_each_and_odd_ones_are_not(runs):
    (first, _), workdir, _ = runs
    lines = (workdir / "bad_files.txt").read_text("utf-8").splitlines()
    listed = dict(line.split("\t") for line in lines)
    assert listed.keys() == {f"kaputt ü {name}" for name in bad_files()}
    assert all(listed.values()) and len(lines) == len(bad_files())
    assert f"{len(bad_files())} unreadable files" in first.stdout


def test_pictures_are_drawn(runs):
    _, workdir, _ = runs
    for name in ("masks.png", "loss.png"):
        assert Image.open(workdir / "images" / name).size > (100, 100)


def test_nothing_is_written_beside_the_work_directory_or_into_the_data(photos, runs):
    (_, _), _, here = runs
    assert sorted(os.listdir(here)) == sorted([ODD.partition("/")[0], "clock"])
    expected = 24 + len(odd_files()) + len(bad_files())
    assert len([path for path in photos.rglob("*") if path.is_file()]) == expected
    newest = max(changed for _, changed in listing(photos).values())
    assert newest < (here / "clock").stat().st_mtime_ns


def test_what_is_written_is_for_its_owner_alone(runs):
    _, workdir, _ = runs
    files = [path for path in workdir.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
