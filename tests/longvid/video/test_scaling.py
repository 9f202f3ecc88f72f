"""Colours, sizes and filters: against the formulas in float64, and between backends."""

from fractions import Fraction

import av
import numpy as np
import pytest

from longvid.video import iter_frames, probe
from longvid.video.scaling import METHODS, Scaler

BT601, BT709, UNKNOWN = (0.299, 0.114), (0.2126, 0.0722), (0.299, 0.114)
MATRICES = {"bt601": (5, BT601), "bt709": (1, BT709), "unknown": (2, UNKNOWN)}
RANGES = {"limited": 1, "full": 2}


def exact_rgb(yuv, weights, colour_range):
    """RGB 0..255 of Y, Cb, Cr (..., 3) by the definition (ITU-R BT.601 and BT.709), in float64."""
    red, blue = weights
    luma, chroma = ((16, 219), 224) if colour_range == "limited" else ((0, 255), 255)
    y = (yuv[..., 0] - luma[0]) / luma[1]
    cb, cr = ((yuv[..., channel] - 128.0) / chroma for channel in (1, 2))
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(255 * np.stack([r, g, b], axis=-1), 0, 255)


def write_patches(path, yuv, matrix, colour_range):
    """One lossless 4:2:0 frame of a grid of 16 x 16 patches, tagged with its matrix and range."""
    full = np.repeat(np.repeat(yuv, 16, axis=0), 16, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = *full.shape[:2], "yuv420p"
        stream.codec_context.colorspace = MATRICES[matrix][0]
        stream.codec_context.color_range = RANGES[colour_range]
        planes = np.concatenate([full[..., 0].ravel(), full[::2, ::2, 1].ravel(), full[::2, ::2, 2].ravel()])
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(planes.reshape(-1, full.shape[1]), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            frame.colorspace, frame.color_range = MATRICES[matrix][0], RANGES[colour_range]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("colour_range", RANGES)
@pytest.mark.parametrize("matrix", MATRICES)
def test_colours_follow_the_matrix_and_the_range_that_the_stream_states(tmp_path, backend, matrix, colour_range):
    rng = np.random.default_rng(0)
    yuv = np.stack([rng.integers(60, 200, (4, 6)), *rng.integers(100, 156, (2, 4, 6))], axis=-1).astype(np.uint8)
    path = write_patches(tmp_path / "patches.mp4", yuv, matrix, colour_range)
    frame = next(iter_frames(path, np.zeros(1), height=64, width=96, backend=backend))
    expected = exact_rgb(yuv.astype(float), MATRICES[matrix][1], colour_range)
    difference = np.abs(frame[8::16, 8::16] - expected)
    assert difference.max() <= 3, difference.max()
    assert difference.mean() <= 1.5


def photograph(height=128, width=160):
    """Smooth shapes and edges in colour, as a lossless 4:4:4 picture."""
    y, x = np.mgrid[:height, :width] / height
    waves = [np.sin(9 * x + 4 * y), np.cos(7 * y - 3 * x * y), np.sin(5 * x * x + 6 * y)]
    picture = np.stack([128 + 90 * wave for wave in waves], axis=-1)
    picture[height // 3 : height // 2, width // 4 : width // 2] = (220, 40, 60)
    return np.clip(picture, 0, 255).astype(np.uint8)


def antialiased(picture, height, width):
    """Bilinear shrinking with a triangle filter over the source, in float64: what PIL and antialiased torch do."""

    def weights(large, small):
        centre = (np.arange(small)[:, None] + 0.5) * large / small
        distance = np.abs(np.arange(large) + 0.5 - centre) * small / large
        triangle = np.maximum(0, 1 - distance)
        return triangle / triangle.sum(1, keepdims=True)

    rows, columns = weights(picture.shape[0], height), weights(picture.shape[1], width)
    return np.einsum("ij,jkc,lk->ilc", rows, picture.astype(float), columns)


def test_bilinear_shrinking_is_antialiased():
    picture = photograph()
    scaled = Scaler(40, 50, "bilinear").scale_rgb(picture)
    difference = np.abs(scaled - antialiased(picture, 40, 50))
    assert difference.mean() < 0.5
    assert difference.max() < 4


def test_each_interpolation_is_its_own(make_video):
    picture = photograph()
    scaled = [Scaler(40, 50, method).scale_rgb(picture) for method in METHODS]
    for index, one in enumerate(scaled):
        for other in scaled[index + 1 :]:
            assert not np.array_equal(one, other)


def test_a_picture_of_the_asked_size_is_left_as_it_is():
    picture = photograph()
    assert np.array_equal(Scaler(*picture.shape[:2], "bicubic").scale_rgb(picture), picture)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_scaling_and_turning_can_be_swapped(degrees):
    picture = photograph()
    turned = np.ascontiguousarray(np.rot90(picture, degrees // 90))
    height, width = 40, 56
    one = Scaler(height, width, "area", degrees).scale_rgb(picture)
    other = Scaler(height, width, "area").scale_rgb(turned)
    assert one.shape == (height, width, 3)
    assert np.abs(one.astype(int) - other).max() <= 2


@pytest.mark.parametrize("interpolation", METHODS)
@pytest.mark.parametrize("name", ["steady.mp4", "ten_bit.mp4", "rotated90.mp4", "odd.avi"])
def test_backends_agree_within_two_levels_in_the_mean(make_video, backend, interpolation, name):
    video, seconds = probe(make_video(name).path), np.array([0.0, 0.3])
    size = {"height": 40, "width": 52, "interpolation": interpolation}
    ours = np.stack(list(iter_frames(video, seconds, backend=backend, **size))).astype(float)
    pyavs = np.stack(list(iter_frames(video, seconds, backend="pyav", **size)))
    assert np.abs(ours - pyavs).mean() <= 2
