"""A folder as people have them: some files broken, some of unusual kinds; it trains and says so."""

from PIL import Image

from tests.data.files import bad_files, encoded, odd_files, picture, write
from tests.running import run

SMALL = (
    "--config.model.decoder_depth=1",
    "--config.model.decoder_width=32",
    "--config.model.decoder_heads=2",
    "--config.schedule.warmup_epochs=0.5",
)


def folder_flags(folder, workdir, batch=8):
    argument = f"path={folder},size=32,variant=nano,patch=8,epochs=2,batch={batch}"
    return (f"--config=configs/folder.py:{argument}", f"--workdir={workdir}", *SMALL)


def good_files(count):
    return {f"some/deep/{i}.jpg": encoded(picture(i, (60, 80, 3)), "JPEG") for i in range(count)}


def test_odd_files_train_and_bad_ones_are_listed(tmp_path):
    broken, odd = bad_files(), odd_files()
    write(tmp_path / "photos", {**good_files(24), **odd, **broken})
    result = run("train", *folder_flags(tmp_path / "photos", tmp_path / "run"))
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / "run" / "bad_files.txt").read_text().splitlines()
    listed = {line.split("\t")[0].rsplit("/", 1)[-1]: line.split("\t")[1] for line in lines}
    assert listed.keys() == broken.keys()
    assert all(listed.values())
    assert f"{len(broken)} unreadable files" in result.stdout
    for name in ("masks.png", "loss.png"):
        assert Image.open(tmp_path / "run" / "images" / name).size > (100, 100)
    assert "evals.train" in result.stdout  # no labels: says how to get probes


def test_too_many_bad_files_stop_the_run_with_its_code(tmp_path):
    junk = {f"junk{i}.jpg": b"this is no picture" for i in range(13)}
    write(tmp_path / "photos", {**good_files(20), **junk})
    result = run("train", *folder_flags(tmp_path / "photos", tmp_path / "run"))
    assert result.returncode == 66, result.stderr
    error = result.stderr.splitlines()[-1]
    assert error.startswith("maskmim: error: ") and "bad_files.txt" in error
    assert "Traceback" not in result.stderr
