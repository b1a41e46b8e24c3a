import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from maskmim import convert, errors
from maskmim.data import shard_format, shard_writer
from maskmim.data.array_record import shards
from maskmim.data.decode import decode
from maskmim.data.folder import labelled
from maskmim.data.records import DataError, Example
from tests.data import files
from tests.data.deep_files import numbers, png16, tiff
from tests.running import ROOT, environment


def classes(folder, count=11):
    kinds = {"png": {}, "webp": {"lossless": True}, "jpg": {"quality": 95}}
    formats = {"png": "PNG", "webp": "WEBP", "jpg": "JPEG"}
    for number in range(count):
        kind = list(kinds)[number % 3]
        content = files.encoded(files.picture(number, (40, 60, 3)), formats[kind], **kinds[kind])
        files.write(folder, {f"{'cat' if number % 2 else 'dög'}/{number:02d}.{kind}": content})
    return folder


def run(source, out, *options):
    return convert.main(["--source", source, "--out", str(out), "--workers", "2", *options])


def test_bytes_labels_and_names_come_back(tmp_path, capsys):
    folder = classes(tmp_path / "in")
    assert run(f"labelled:{folder}", tmp_path / "out", "--shard-size", "4") == errors.DONE
    before, after = labelled(path=str(folder)), shards(path=str(tmp_path / "out"))
    assert len(before) == len(after) == 11 and after.labels == {"class": ("cat", "dög")}
    for index in range(11):
        assert after[index] == before[index] and after.name(index) == before.name(index)
    written = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert written == [
        *[f"images-0000{i}.array_record" for i in range(3)],
        "index.json",
        "progress.json",
    ]
    said = capsys.readouterr().out
    assert "11 images in 3 shards" in said and "maskmim.data.array_record.shards" in said


def test_large_images_are_reduced_and_small_ones_kept(tmp_path):
    large, small = files.picture(0, (90, 150, 3)), files.picture(1, (20, 20, 3))
    turned = np.rot90(large, -1).copy()
    content = {
        "large.png": files.encoded(large, "PNG"),
        "small.png": files.encoded(small, "PNG"),
        "turned.jpg": files.encoded(turned, "JPEG", quality=98, exif=files.exif(8)),
    }
    files.write(tmp_path / "in", content)
    run(f"folder:{tmp_path / 'in'}", tmp_path / "out", "--short-side", "30", "--quality", "95")
    records = shards(path=str(tmp_path / "out"))
    found = {records.name(i): records[i].encoded for i in range(3)}
    assert found["small.png"] == content["small.png"]
    for name in ("large.png", "turned.jpg"):
        assert found[name][:2] == b"\xff\xd8"
        pixels = decode(found[name]).astype(int)
        assert pixels.shape == (30, 50, 3)
        expected = large.reshape(30, 3, 50, 3, 3).mean((1, 3))
        assert np.abs(pixels - expected).mean() < 4


def test_bad_files_are_left_out_and_listed(tmp_path, capsys):
    files.write(tmp_path / "in", files.bad_files() | files.odd_files())
    run(f"folder:{tmp_path / 'in'}", tmp_path / "out", "--shard-size", "1")
    records = shards(path=str(tmp_path / "out"))
    assert {records.name(i) for i in range(len(records))} == set(files.odd_files())
    lines = (tmp_path / "out" / "bad_files.txt").read_text().splitlines()
    assert {line.split("\t")[0] for line in lines} == set(files.bad_files())
    assert "left out: 5 unreadable files, see" in capsys.readouterr().out


def test_it_continues_after_the_last_whole_shard(tmp_path, monkeypatch):
    folder, out = classes(tmp_path / "in"), tmp_path / "out"
    files.write(folder, {"cat/00bad.png": b""})
    calls = []
    original = shard_writer.reduce_image

    def interrupted(encoded, settings):
        calls.append(encoded)
        if len(calls) > 9:
            raise KeyboardInterrupt
        return original(encoded, settings)

    monkeypatch.setattr(shard_writer, "reduce_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(f"labelled:{folder}", out, "--shard-size", "3")
    assert not (out / "index.json").exists()
    with pytest.raises(DataError, match="run it to the end"):
        shards(path=str(out))
    finished = sorted(out.glob("*.array_record"))
    assert 0 < len(finished) < 4
    stamps = [file.stat().st_mtime_ns for file in finished]
    monkeypatch.setattr(shard_writer, "reduce_image", original)

    assert run(f"labelled:{folder}", out, "--shard-size", "3") == errors.DONE
    assert [file.stat().st_mtime_ns for file in finished] == stamps
    whole = tmp_path / "whole"
    run(f"labelled:{folder}", whole, "--shard-size", "3")
    one, other = shards(path=str(out)), shards(path=str(whole))
    assert [one[i] for i in range(11)] == [other[i] for i in range(11)]
    assert one.fingerprint == other.fingerprint
    assert (out / "bad_files.txt").read_text() == (whole / "bad_files.txt").read_text()
    assert not list(out.glob("*.part"))


def test_running_again_changes_nothing(tmp_path):
    folder, out = classes(tmp_path / "in", 3), tmp_path / "out"
    run(f"labelled:{folder}", out)
    stamp = next(out.glob("*.array_record")).stat().st_mtime_ns
    assert run(f"labelled:{folder}", out) == errors.DONE
    assert next(out.glob("*.array_record")).stat().st_mtime_ns == stamp


@pytest.mark.parametrize("change", ["--short-side", "--quality", "--shard-size", "image"])
def test_other_settings_or_images_need_another_folder(tmp_path, change):
    folder, out = classes(tmp_path / "in", 3), tmp_path / "out"
    run(f"labelled:{folder}", out)
    if change == "image":
        files.write(folder, {"cat/new.png": b"x"})
    with pytest.raises(DataError, match="choose another --out"):
        run(f"labelled:{folder}", out, *([] if change == "image" else [change, "7"]))


# Kills converting processes at the n-th call of os.replace (before or after it) or of
# reduce_image, lets another process finish, and prints where its files differ from those of a run
# that nothing disturbed. Forked from a process without threads, so that one start serves all.
KILLED = """
import os, signal, sys
from pathlib import Path
from maskmim import convert
from maskmim.data import shard_format, shard_writer

folder, place = sys.argv[1], Path(sys.argv[2])

def forked(out, prepare=lambda: None):
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        prepare()
        words = ["--source", f"labelled:{folder}", "--out", str(out), "--workers", "2"]
        os._exit(convert.main([*words, "--shard-size", "4"]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def dying(module, name, call, after):
    original, calls = getattr(module, name), []
    def patched(*arguments):
        calls.append(1)
        if len(calls) == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments)
        if len(calls) == call and after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(module, name, patched)

def content(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}

assert forked(place / "whole") == 0
whole = content(place / "whole")
moments = [(shard_format.os, "replace", n, after) for n in range(1, 9) for after in (False, True)]
moments += [(shard_writer, "reduce_image", n, False) for n in range(1, 13, 2)]
for module, name, call, after in moments:
    what = f"{name}-{call}-{after}"
    if forked(place / what, lambda: dying(module, name, call, after)) != -signal.SIGKILL:
        print(what, "was not reached")
    if name == "reduce_image" and "index.json" in content(place / what):
        print(what, "has an index too early")
    if forked(place / what) != 0 or content(place / what) != whole:
        print(what, "differs")
print(len(moments), "moments")
"""


def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path):
    folder = classes(tmp_path / "in")
    files.write(folder, {"cat/00bad.png": b""})
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "out")],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "22 moments\n" and done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_killed_from_outside_again_and_again_it_ends_with_the_same_bytes(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    kinds = [files.encoded(files.picture(i, (300, 400, 3)), "JPEG", quality=95) for i in range(20)]
    files.write(folder, {f"{i:03d}.jpg": kinds[i % 20] for i in range(600)})
    words = ["--source", f"folder:{folder}", "--shard-size", "25", "--workers", "2"]
    command = [sys.executable, "-m", "maskmim.convert", *words, "--out", str(out)]
    rng = np.random.default_rng(0)
    kills = 0
    while not (out / "index.json").exists():
        before = set(out.glob("*.array_record"))
        with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and set(out.glob("*.array_record")) <= before:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.2))
            if process.poll() is None:
                process.kill()
                kills += 1
    assert kills >= 5
    convert.main([*words, "--out", str(tmp_path / "whole")])
    assert contents(out) == contents(tmp_path / "whole")


def test_a_full_disk_is_told_and_whole_shards_are_kept(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    small = {f"{i}.png": files.encoded(files.picture(i), "PNG") for i in range(4)}
    files.write(folder, small | {"9.png": files.encoded(noise, "PNG")})
    command = [sys.executable, "-m", "maskmim.convert", "--shard-size", "2"]
    command += ["--source", f"folder:{folder}", "--out", str(out)]
    limit = (300_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert done.returncode == errors.STORAGE, done.stderr
    assert "images-00002.array_record cannot be written" in done.stderr
    assert "make room" in done.stderr and "Traceback" not in done.stderr
    kept = {path.name for path in out.iterdir()}
    assert kept == {"images-00000.array_record", "images-00001.array_record", "progress.json"}
    run(f"folder:{folder}", out, "--shard-size", "2")
    run(f"folder:{folder}", tmp_path / "whole", "--shard-size", "2")
    assert contents(out) == contents(tmp_path / "whole")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_workers_do_not_change_the_bytes(tmp_path):
    folder = classes(tmp_path / "in", 30)
    for workers in ("1", "7"):
        run(f"labelled:{folder}", tmp_path / workers, "--shard-size", "8", "--workers", workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "7")


def test_one_process_at_a_time_writes_to_a_folder(tmp_path):
    folder, out = classes(tmp_path / "in", 3), tmp_path / "out"
    out.mkdir()
    with shard_writer.lock_folder(out), pytest.raises(DataError, match="another process writes"):
        run(f"labelled:{folder}", out)
    assert run(f"labelled:{folder}", out) == errors.DONE


@pytest.mark.parametrize("harm", ["bit", "cut", "missing"])
def test_verify_finds_damaged_shards_and_the_command_makes_them_again(tmp_path, harm, capsys):
    folder, out = classes(tmp_path / "in"), tmp_path / "out"
    run(f"labelled:{folder}", out, "--shard-size", "4")
    whole = contents(out)
    assert convert.main(["--verify", str(out)]) == errors.DONE
    assert "3 of 3 shards match their checksums" in capsys.readouterr().out
    shard = out / "images-00001.array_record"
    if harm == "bit":
        spoilt = bytearray(shard.read_bytes())
        spoilt[len(spoilt) // 2] ^= 1
        shard.write_bytes(spoilt)
    elif harm == "cut":
        os.truncate(shard, shard.stat().st_size - 1)
    else:
        shard.unlink()
    with pytest.raises(shard_writer.Damaged, match=r"(?s)1 of 3 shards .* images-00001") as caught:
        convert.main(["--verify", str(out)])
    assert caught.value.exit_code == errors.BAD_DATA
    shard.unlink(missing_ok=True)
    run(f"labelled:{folder}", out, "--shard-size", "4")
    assert contents(out) == whole


def test_an_index_without_checksums_still_reads(tmp_path, capsys):
    out = tmp_path / "out"
    run(f"labelled:{classes(tmp_path / 'in')}", out)
    index = json.loads((out / "index.json").read_text())
    for shard in index["shards"]:
        del shard["size"], shard["sha256"]
    (out / "index.json").write_text(json.dumps(index))
    assert len(shards(path=str(out))) == 11
    assert convert.main(["--verify", str(out)]) == errors.DONE
    assert "not verified, as their index has no checksums: 1 shard" in capsys.readouterr().out


def test_nothing_readable_is_an_error(tmp_path):
    files.write(tmp_path / "in", {"a.png": b"", "b.png": b"x"})
    with pytest.raises(DataError, match="none of the 2 images can be read"):
        run(f"folder:{tmp_path / 'in'}", tmp_path / "out")


@pytest.mark.parametrize("source", ["/some/path", "zip:/some/path", "folder"])
def test_unknown_sources_are_refused(tmp_path, source):
    with pytest.raises(DataError, match="write folder:PATH, labelled:PATH or imagenet:PATH"):
        run(source, tmp_path / "out")


def test_the_command_ends_with_a_sentence_and_the_code_for_misuse(tmp_path):
    command = [sys.executable, "-m", "maskmim.convert", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--source", f"folder:{tmp_path / 'nowhere'}"], capture_output=True, text=True
    )
    assert done.returncode == errors.USAGE
    assert "does not exist" in done.stderr and "Traceback" not in done.stderr


def test_missing_and_damaged_shards_are_noticed(tmp_path):
    out = tmp_path / "out"
    run(f"labelled:{classes(tmp_path / 'in')}", out, "--shard-size", "4")
    index = out / "index.json"
    text = index.read_text()
    content = json.loads(text)
    content["shards"][1]["records"] = 99
    index.write_text(json.dumps(content))
    with pytest.raises(DataError, match="hold 11 images, their index says 106"):
        shards(path=str(out))
    index.write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match="damaged"):
        shards(path=str(out))
    index.write_text(text)
    (out / "images-00001.array_record").unlink()
    with pytest.raises(DataError, match="lacks 1 of 3 shards, first images-00001"):
        shards(path=str(out))
    with pytest.raises(DataError, match="is not a folder"):
        shards(path=str(tmp_path / "nowhere"))


def test_a_record_is_what_its_description_says():
    record = shard_format.pack("näme.png", {"class": 3}, b"\x00bytes")
    length = int.from_bytes(record[:4], "little")
    assert json.loads(record[4 : 4 + length]) == {"name": "näme.png", "labels": {"class": 3}}
    assert record[4 + length :] == b"\x00bytes"
    assert shard_format.unpack(record) == ("näme.png", Example(b"\x00bytes", {"class": 3}))


@pytest.mark.parametrize("record", [b"", b"abc", b"\x02\x00\x00\x00{}", b"\xff\xff\xff\xffx"])
def test_foreign_records_are_refused(record):
    with pytest.raises(DataError, match="maskmim did not write"):
        shard_format.unpack(record)


def test_deep_images_and_bands_are_kept_whole(tmp_path):
    content = {
        "bands.tif": tiff(numbers("float32", (90, 80, 13)), photometric="minisblack"),
        "colours.png": png16(numbers("uint16", (90, 80, 3))),
    }
    files.write(tmp_path / "in", content)
    run(f"folder:{tmp_path / 'in'}", tmp_path / "out", "--short-side", "30")
    records = shards(path=str(tmp_path / "out"))
    assert {records.name(i): records[i].encoded for i in range(2)} == content
