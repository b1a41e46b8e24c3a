"""Deep and multi-band images, compared with the arrays that numpy and tifffile wrote."""

import io

import numpy as np
import pytest
from PIL import Image

from maskmim.data import extras
from maskmim.data.decode import as_stored, decode, picture, read_stored, scaled
from maskmim.data.records import BadImage, DataError
from tests.data import files
from tests.data.deep_files import numbers, png16, tiff

RNG = np.random.default_rng(0)
TYPES = ["uint16", "int16", "uint32", "int32", "float32", "float64", "float16", "int8"]
BANDS = {"photometric": "minisblack"}
LIMITS = {"float16": (0, 1), "float32": (0, 1), "float64": (0, 1)}


def expected(values, limits):
    """The definition: values of the range become 0 ... 1, others are clipped."""
    low, high = limits
    return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)


def limits_of(dtype):
    return LIMITS.get(dtype) or (np.iinfo(dtype).min, np.iinfo(dtype).max)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", TYPES)
def test_a_grey_tiff_uses_the_range_of_its_type_or_the_given_one(dtype, order):
    values = numbers(dtype)
    encoded = tiff(values, byteorder=order)
    for limits in (None, (0.25, 100.0)):
        whole = expected(values, limits or limits_of(dtype))[..., None]
        found = scaled(RNG, encoded, channels=1, value_range=limits)
        assert found.dtype == np.float32
        assert np.abs(found - whole).max() < 1e-6
        levels = decode(encoded, channels=1, value_range=limits)
        assert levels.dtype == np.uint8
        assert np.array_equal(levels, np.rint(whole * 255))
    assert np.array_equal(as_stored(RNG, encoded, channels=1)[..., 0], values.astype(np.float32))


def test_the_scale_is_that_of_the_data_set_not_of_the_image():
    bright = np.array([[0, 0.5, 1.4]], np.float32)
    dark = np.array([[0, 0.5, 0.9]], np.float32)
    one, other = (decode(tiff(values), channels=1)[0, :2, 0] for values in (bright, dark))
    assert one.tolist() == other.tolist() == [0, 128]
    high = np.array([[0, 65_536]], np.uint32)
    assert decode(tiff(high), channels=1, bits=17)[0, :, 0].tolist() == [0, 128]


def test_twelve_bits_in_sixteen_have_all_levels():
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    encoded = files.encoded(Image.fromarray(values), "PNG")
    assert len(np.unique(decode(encoded, channels=1))) == 17
    for choice in ({"bits": 12}, {"value_range": (0, 4095)}):
        assert len(np.unique(decode(encoded, channels=1, **choice))) == 256
        assert len(np.unique(scaled(RNG, encoded, channels=1, **choice))) == 4096


def test_nan_is_low_infinities_are_clipped_and_nothing_finite_is_a_bad_file():
    values = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    encoded = tiff(values)
    assert decode(encoded, channels=1)[0, :, 0].tolist() == [0, 255, 0, 128]
    assert scaled(RNG, encoded, channels=1)[0, :, 0].tolist() == [0, 1, 0, 0.5]
    with pytest.raises(BadImage, match=r"75.00% of the pixels are NaN"):
        as_stored(RNG, encoded, channels=1)
    with pytest.raises(BadImage, match="no pixel is finite"):
        decode(tiff(values * np.nan), channels=1)


@pytest.mark.parametrize("bands", [1, 5])
def test_the_number_for_no_data_of_gdal_is_no_value(bands):
    values = numbers("float32", (9, 7, bands))
    values[0, :3] = -9999
    tag = (42113, "s", 0, "-9999", True)
    layout = {"planarconfig": "contig"} if bands > 1 else {}
    encoded = tiff(values, extratags=[tag], **layout, **BANDS)
    found = read_stored(encoded).values
    assert np.isnan(found[0, :3]).all() and np.isfinite(found[1:]).all()
    assert scaled(RNG, encoded, channels=bands, value_range=(-1, 2))[0, :3].max() == 0
    with pytest.raises(BadImage, match="are NaN"):
        as_stored(RNG, encoded, channels=bands)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_png_keeps_both_bytes(channels, interlaced):
    values = numbers("uint16", (21, 13, channels))
    encoded = png16(values, interlaced=interlaced)
    assert Image.open(io.BytesIO(encoded)).size == (13, 21)
    image = read_stored(encoded)
    assert np.array_equal(image.values, values)
    assert image.alpha == (channels in (2, 4)) and image.limits == (0, 65535)
    colours = values[..., : channels - image.alpha].astype(float)
    whole = colours if colours.shape[-1] == 3 else colours.repeat(3, -1)
    assert np.abs(scaled(RNG, encoded, channels=3) - whole / 65535).max() < 1e-6
    assert np.array_equal(decode(encoded, channels=3), np.rint(whole / 257))


def test_sixteen_bit_colours_become_grey_by_their_luminance():
    values = numbers("uint16", (20, 30, 3))
    grey = decode(png16(values), channels=1)
    by_pillow = np.asarray(Image.fromarray((values // 257).astype(np.uint8)).convert("L"))
    assert np.abs(grey[..., 0].astype(int) - by_pillow).max() <= 2


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [2, 3, 4, 13])
def test_any_number_of_bands_in_any_layout(dtype, bands):
    values = numbers(dtype, (10, 8, bands))
    planes = np.ascontiguousarray(np.moveaxis(values, -1, 0))
    layouts = {
        "pixel by pixel": tiff(values, planarconfig="contig", **BANDS),
        "band by band": tiff(planes, planarconfig="separate", **BANDS),
        "pages": tiff(planes, **BANDS),
        "big endian": tiff(values, planarconfig="contig", byteorder=">", **BANDS),
        "big": tiff(values, planarconfig="contig", bigtiff=True, **BANDS),
        "ImageJ": tiff(planes.astype("uint8" if dtype == "uint8" else dtype), imagej=True),
        "zlib": tiff(values, planarconfig="contig", compression="zlib", **BANDS),
    }
    for name, encoded in layouts.items():
        found = as_stored(RNG, encoded, channels=bands)
        assert np.array_equal(found, values.astype(np.float32)), name
        if dtype == "uint8":
            assert np.array_equal(decode(encoded, channels=bands), values), name


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    "has, wants", [(4, 3), (13, 12), (13, 3), (13, 1), (3, 13), (2, 3), (5, 4)]
)
def test_another_number_of_bands_is_a_bad_file_that_names_both(dtype, has, wants):
    values = numbers(dtype, (10, 8, has))
    planes = np.ascontiguousarray(np.moveaxis(values, -1, 0))
    contig = tiff(values, planarconfig="contig", **BANDS)
    for encoded in (contig, tiff(planes, planarconfig="separate", **BANDS), tiff(planes, **BANDS)):
        for read in (scaled, picture, as_stored):
            with pytest.raises(BadImage, match=f"{has} bands, but input.channels is {wants}"):
                read(RNG, encoded, channels=wants)


@pytest.mark.parametrize("channels", [3, 4, 13])
def test_colours_with_a_band_that_is_no_alpha_lose_nothing(channels):
    values = numbers("uint8", (10, 8, 4))
    encoded = tiff(values, photometric="rgb", extrasamples=["unspecified"])
    if channels == 4:
        assert np.array_equal(decode(encoded, channels=4), values)
        return
    with pytest.raises(BadImage, match=f"4 bands, but input.channels is {channels}"):
        decode(encoded, channels=channels)


def test_a_photograph_is_no_image_of_many_bands():
    for name in ("plain.bmp", "grey.jpg", "alpha.png", "ycbcr.tif"):
        with pytest.raises(BadImage, match=r"but input\.channels is 13"):
            decode(files.odd_files()[name], channels=13)


def test_alpha_of_sixteen_bits_is_dropped_and_undone():
    rgba = numbers("uint16", (10, 8, 4)) // 2
    plain = tiff(rgba, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(decode(plain, channels=3), np.rint(rgba[..., :3] / 257))
    share = rgba[..., 3:] / 65535
    multiplied = np.rint(rgba[..., :3].astype(float) * share)
    both = np.concatenate([multiplied, rgba[..., 3:]], -1).astype(np.uint16)
    found = decode(tiff(both, photometric="rgb", extrasamples=["assocalpha"]), channels=3)
    sure = share[..., 0] > 0.1
    assert np.abs(found[sure].astype(int) - np.rint(rgba[sure][..., :3] / 257)).max() <= 1


def test_white_may_be_zero():
    values = numbers("uint16")
    assert np.array_equal(
        read_stored(tiff(values, photometric="miniswhite")).values[..., 0], 65535 - values
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_of_bands_is_turned_upright(orientation):
    values = numbers("uint16", (10, 8, 5))
    tag = (274, "H", 1, orientation, True)
    encoded = tiff(values, planarconfig="contig", extratags=[tag], **BANDS)
    grey = tiff(values[..., 0], extratags=[tag], **BANDS)
    found = as_stored(RNG, encoded, channels=5)[..., 0]
    assert np.array_equal(found, as_stored(RNG, grey, channels=1)[..., 0])  # as Pillow turns it
    assert found.shape == ((8, 10) if orientation > 4 else (10, 8))


def test_without_tifffile_a_sentence_says_what_to_install(monkeypatch):
    def missing(module):
        raise ModuleNotFoundError(module)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(DataError, match=r"pip install tifffile, or 'maskmim\[tiff\]'"):
        decode(tiff(numbers("float32", (10, 8, 5)), **BANDS), channels=5)
    values = numbers("uint16")
    assert decode(tiff(values), channels=1).shape == (9, 7, 1)  # grey needs Pillow only


@pytest.mark.parametrize(
    "choice, words",
    [
        ({"value_range": (5, 5)}, "the first must be smaller"),
        ({"value_range": (0, float("inf"))}, "give the values of black and of white"),
        ({"value_range": (0, 1, 2)}, "give the values of black and of white"),
        ({"bits": 0}, "bits=0"),
        ({"bits": 8, "value_range": (0, 1)}, "give one of them"),
    ],
)
def test_ranges_that_are_none(choice, words):
    for read in (picture, scaled):
        with pytest.raises(DataError, match=words):
            read(RNG, files.odd_files()["grey.jpg"], **choice)


@pytest.mark.parametrize("name", sorted(files.odd_files()))
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_ordinary_images_are_the_same_in_every_decoder(name, channels):
    encoded = files.odd_files()[name]
    levels = decode(encoded, channels=channels)
    assert np.array_equal(decode(encoded, channels=channels, value_range=(0, 65535)), levels)
    assert np.abs(scaled(RNG, encoded, channels=channels) * 255 - levels).max() < 1e-4


@pytest.mark.parametrize("name", sorted(files.bad_files()))
def test_bad_files_are_bad_in_every_decoder(name):
    for read in (scaled, as_stored):
        with pytest.raises(BadImage):
            read(RNG, files.bad_files()[name])


def test_damaged_and_huge_tiff_files_are_bad_images():
    good = tiff(numbers("float32", (30, 20, 5)), planarconfig="contig", **BANDS)
    for end in (6, 40, len(good) // 2, len(good) - 3):
        with pytest.raises(BadImage):
            decode(good[:end], channels=5)
    with pytest.raises(BadImage, match="limit of 599"):
        decode(good, channels=5, max_pixels=599)


def test_arrays_of_numbers_are_scaled_too():
    values = numbers("float32", (4, 5, 13))
    assert np.abs(scaled(RNG, values, channels=13) - np.clip(values, 0, 1)).max() == 0
    with pytest.raises(BadImage, match=r"13 bands, but input\.channels is 3"):
        scaled(RNG, values, channels=3)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("white", [256, 1000, 4095, 65534, 65535])
def test_pgm_has_the_numbers_of_its_file_and_its_own_white(white, plain):
    values = RNG.integers(0, white + 1, (9, 7)).astype(np.uint16)
    head = f"P{2 if plain else 5}\n# 3 of 4\n7 9\n# 99\n{white}\n".encode()
    body = " ".join(map(str, values.ravel())).encode() if plain else values.astype(">u2").tobytes()
    encoded = head + body
    assert np.array_equal(as_stored(RNG, encoded, channels=1)[..., 0], values)
    levels = decode(encoded, channels=1, bits=12)[..., 0]
    assert np.array_equal(levels, np.rint(np.clip(values / 4095, 0, 1) * 255))
    assert np.abs(scaled(RNG, encoded, channels=1)[..., 0] - values / white).max() < 1e-6


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_jpeg_2000_has_the_numbers_of_its_file(bits):
    imagecodecs = pytest.importorskip("imagecodecs")
    values = RNG.integers(0, 2**bits, (32, 32)).astype(np.uint16)
    options = {"bitspersample": bits, "level": 0, "reversible": True}
    encoded = imagecodecs.jpeg2k_encode(values, codecformat="jp2", **options)
    assert np.array_equal(as_stored(RNG, encoded, channels=1)[..., 0], values)
    assert np.abs(scaled(RNG, encoded, channels=1)[..., 0] - values / (2**bits - 1)).max() < 1e-6
