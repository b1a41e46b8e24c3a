"""A folder with too many broken files ends the command with its code; a few: faults/test_places."""

import pytest

from tests.data.files import encoded, picture, write
from tests.running import as_tests, run

pytestmark = pytest.mark.full


def test_too_many_bad_files_stop_the_run_with_its_code(tmp_path):
    good = {f"deep/{i}.jpg": encoded(picture(i, (60, 80, 3)), "JPEG") for i in range(20)}
    junk = {f"junk{i}.jpg": b"this is no picture" for i in range(20)}
    write(tmp_path / "photos", good | junk)
    argument = f"path={tmp_path / 'photos'},size=32,variant=nano,patch=8,epochs=2,batch=32"
    result = run(
        "train",
        f"--config=configs/folder.py:{argument}",  # its first batch already has more than 10
        f"--workdir={tmp_path / 'run'}",
        "--config.schedule.warmup_epochs=0.5",
        **as_tests(),
    )
    assert result.returncode == 66, result.stderr
    error = result.stderr.splitlines()[-1]
    assert error.startswith("maskmim: error: ") and "bad_files.txt" in error
    assert "Traceback" not in result.stderr
