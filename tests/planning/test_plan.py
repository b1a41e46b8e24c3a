"""What the command prints for machines that are not here, on a tiny training."""

import re
from types import SimpleNamespace

import jax
import pytest

from maskmim.config.load import load
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.models.layers import attention
from maskmim.planning import compiled, feeding, report
from maskmim.planning.chips import chips
from maskmim.planning.compiled import CompiledStep, TooLarge, bytes_needed
from maskmim.planning.cost import bytes_per_device, count_parameters
from maskmim.planning.feeding import Rate
from maskmim.planning.roofline import Speed
from maskmim.planning.topology import Topology
from maskmim.training.build import assemble

pytestmark = pytest.mark.full

UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def sizes(text, title):
    """{first column: bytes in the second} of a table in a text."""
    lines = text.split(f"{title}\n", 1)[1].split("\n\n")[0].splitlines()[1:]
    matches = (re.match(r"([a-z][a-z -]*?) {2,}(?:\d+ +)?([\d.]+) (\w+)", line) for line in lines)
    return {m.group(1): float(m.group(2)) * UNITS[m.group(3)] for m in matches if m}


@pytest.fixture(scope="module")
def parts():
    return assemble(load("configs/colormae.py:tiny"), TRAIN_IMAGES)


def test_memory_by_kind_adds_up(plans, parts):
    memory = sizes(plans["plan"], "Memory of a chip")
    held = 4 * count_parameters(parts.shapes.params)
    assert memory["parameters"] == pytest.approx(held, rel=1e-3)
    assert memory["optimiser"] == pytest.approx(2 * held + 8, rel=1e-3)
    assert memory["batch"] == memory["next batch"] == 16 / 8 * 32 * 32 * 3
    total = memory.pop("total")
    assert sum(memory.values()) == pytest.approx(total, rel=2e-3)
    assert memory["temporaries"] > 100e3


def test_gradients_are_summed_once(plans, parts):
    sent = sizes(plans["plan"], "Sent between chips in a step")
    assert list(sent) == ["all-reduce"]
    assert sent["all-reduce"] == pytest.approx(4 * count_parameters(parts.shapes.params), rel=0.05)


def test_split_weights_take_a_part_and_are_gathered(plans):
    whole, split = (
        sizes(plans[name], "Memory of a chip")["parameters"] for name in ("plan", "plan split")
    )
    assert 0.25 * whole < split < 0.35 * whole
    sent = sizes(plans["plan split"], "Sent between chips in a step")
    assert {"all-reduce", "all-gather"} <= set(sent)


def test_the_text_says_what_is_estimated_and_what_was_given(plans):
    text = plans["plan"]
    for said in (
        "h100: 8 GPUs; 1 host",
        "An estimate: compiled for a CPU",
        "twice the bytes",
        "Decoding: 500 images/s per core, as given.",
        "no step is faster",
        "MFLOP in matrix products, forward and backward.",
    ):
        assert said in text, said
    again = "more are recomputed"
    assert again in plans["plan split"] and again not in text


def test_shardings_tell_of_the_optimiser_too(plans):
    text = plans["plan split"]
    assert re.search(r"encoder/stack/blocks/mlp/up/kernel +2x32x128 +sharded \(-, fsdp, -\)", text)
    assert "72 arrays sharded like their parameters" in text
    assert re.search(r"optimiser: \S*count +scalar +replicated", text)


@pytest.mark.slow
def test_the_largest_batch_is_found_by_compiling(largest):
    text, at_eight = largest
    rows = re.findall(r"^ *(\d+) +([\d.]+) (KiB|MiB)", text, re.M)
    tried = {int(batch): float(size) * UNITS[unit] for batch, size, unit in rows}
    limit = 0.95 * 3_000_000
    best = int(re.search(r"A batch of (\d+) images fits with 5% left", text).group(1))
    assert tried[8] == pytest.approx(at_eight, rel=1e-3)
    assert tried[best] <= limit < tried[best + 8]
    assert len(tried) <= 8


def test_every_kind_of_memory_has_words():
    known = {"parameters", "optimiser", "extra", "frozen", "batch"}
    assert known < set(report.KINDS)


def v5e(**changes):
    return Topology("v5e:2x2", chips()["v5e"], (2, 2), [None] * 4, 1)._replace(**changes)


def step(temporaries):
    return CompiledStep({"parameters": 1e9, "temporaries": temporaries}, {}, 0.0, 0, 0, 1.0)


def test_verdicts():
    assert report.verdict(step(5e9), v5e()).startswith("It fits, with 10.16 GiB to spare")
    just = report.verdict(step(15.5e9), v5e())
    assert just.startswith("It just fits") and "micro_batches" in just
    assert report.verdict(step(17e9), v5e()).startswith("It does not fit")
    refused = TooLarge({"parameters": 1e9}, 20e9, 1.0)
    assert report.verdict(refused, v5e()).startswith("It does not fit")
    assert "118.3%" in report.memory_table(refused, v5e())
    silent = refused._replace(needed=float("inf"))
    assert re.search(r"total +more +of 15.75 GiB", report.memory_table(silent, v5e()))


def test_what_compilers_say_of_too_little_memory():
    told = "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: the total memory required for HLO "
    assert (
        bytes_needed(told + "temporaries (122.02G) exceeds available HBM (15.75G).")
        == 122.02 * 2**30
    )
    assert (
        bytes_needed("Ran out of memory in memory space hbm. Used 512.5M of 15.75G")
        == 512.5 * 2**20
    )
    assert bytes_needed("RESOURCE_EXHAUSTED: something else") == float("inf")


def test_decoding_cores_and_days():
    speed = Speed(0.4, 0.5, 8192.0)
    text = report.speed_table(
        [speed], v5e(), Rate(512.0, "as given"), 8192.0 * 3600 * 72 / TRAIN_IMAGES
    )
    assert re.search(r"40% +500.0 ms +8,192 +2,048 +8,192 +16.0 +3.0 d$", text, re.M)
    assert "A host of 4 chips has 56 cores (112 virtual CPUs)." in text
    most = report.speed_table([speed._replace(share=0.26)], v5e(), Rate(512.0, "as given"), 1.0)
    assert re.search(r"26% .* the most, see above$", most, re.M)
    unknown = report.speed_table([speed], v5e(), Rate(0.0, "unknown"), 1.0)
    assert re.search(r" \? +2.6 min$", unknown, re.M)
    busy = report.speed_table([speed], v5e(), Rate(100.0, "as given"), 1.0)
    assert re.search(r" 81.9 .* more cores than a host has$", busy, re.M)


def test_decode_rate_of_data_that_are_here_and_that_are_not():
    here = feeding.decode_rate(load("configs/colormae.py:tiny"), examples=4)
    assert here.images > 0 and "4 records of maskmim.data.grocery.grocery" in here.source
    absent = feeding.decode_rate(load("configs/colormae.py"), examples=4)
    assert absent.images > 0 and "500 x 375" in absent.source
    videos = feeding.decode_rate(load("configs/videomae.py"), examples=4)
    assert videos.images == 0 and "--decode-rate" in videos.source


def test_stand_ins_for_photographs_are_as_large_as_photographs():
    files = feeding.typical_photographs(3)
    assert len(set(files)) == 3
    assert all(60e3 < len(file) < 160e3 for file in files)


def test_state_bytes_of_a_mesh_count_what_one_device_holds(parts):
    assert bytes_per_device(parts.shapes.params, parts.shardings.params) == 4 * count_parameters(
        parts.shapes.params
    )


def test_networks_of_a_plan_are_those_of_accelerators(monkeypatch):
    # On a CPU attention loops over parts of the batch, which would gather it from every chip.
    seen = []
    monkeypatch.setattr(compiled, "assemble", lambda *_: seen.append(attention.fastest_attention()))
    compiled.assemble_for(None, v5e())
    assert seen == [attention.plain_attention]
    assert attention.fastest_attention() is attention.cpu_attention or jax.device_count() > 1


def test_temporaries_of_a_tpu_are_those_at_the_peak():
    state = {"parameters": 600.0, "batch": 100.0}
    told = SimpleNamespace(
        argument_size_in_bytes=750,
        temp_size_in_bytes=900,
        peak_memory_in_bytes=1000,
        output_size_in_bytes=620,
        alias_size_in_bytes=600,
        generated_code_size_in_bytes=30,
    )
    of_tpu = compiled._memory_by_kind(state, told, v5e())
    assert of_tpu["temporaries"] == 250 and of_tpu["padding"] == 50
    assert of_tpu["results"] == 20 and of_tpu["program"] == 30 and of_tpu["next batch"] == 100
    assert sum(of_tpu.values()) == 1000 + 20 + 30 + 100
    of_gpu = compiled._memory_by_kind(state, told, v5e(chip=chips()["h100"]))
    assert of_gpu["temporaries"] == 900
