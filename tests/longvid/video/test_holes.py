"""What a container shows to be lost or broken is refused with its seconds; sound files, however odd, never are."""

import av
import numpy as np
import pytest

from longvid.clips import iter_clips
from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.errors import DamagedVideo
from longvid.video import iter_frames, probe
from longvid.video.matroska import damaged_bytes
from longvid.video.numbered import numbered_picture, read_number
from longvid.video.writing import write_video

NUM_FRAMES, HEIGHT, WIDTH = 150, 96, 120
H264 = {"codec": "libx264", "codec_options": {"sc_threshold": "0", "preset": "veryfast"}}
CODECS = {
    "steady.ts": H264,
    "steady.mkv": H264,
    "plain.mkv": H264 | {"container_options": {"write_crc32": "0"}},
    "live.mkv": H264 | {"container_options": {"live": "1", "write_crc32": "0"}},
    "steady.avi": {"codec": "mpeg4", "b_frames": 0},
    "hevc.mkv": {"codec": "libx265", "codec_options": {"x265-params": "log-level=none"}},
}


def pictures():
    """Numbered pictures under moving grain, so that every packet holds data."""
    grain = np.random.default_rng(0).integers(-15, 16, (HEIGHT, WIDTH, 3))
    for number in range(NUM_FRAMES):
        picture = numbered_picture(number, HEIGHT, WIDTH).astype(int) + np.roll(grain, 3 * number, axis=1)
        yield np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """`sound("steady.ts")` is five seconds at 30 frames per second, with a keyframe each second."""
    folder, made = tmp_path_factory.mktemp("sound"), {}

    def make(name):
        if name not in made:
            made[name] = write_video(folder / name, pictures(), keyframe_every=30, **CODECS[name])
        return made[name]

    return make


def places(path):
    """Where each packet of the video stands, and how long it is."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(container.streams.video[0]) if packet.size]


def hurt(path, target, *, at, by=None, remove=0):
    """A copy with bytes overwritten or removed at a place."""
    data = bytearray(path.read_bytes())
    data[at : at + (remove or len(by))] = by or b""
    target.write_bytes(data)
    return target


def numbers(video, seconds):
    return [read_number(frame) for frame in iter_frames(video, np.asarray(seconds), height=48, width=60)]


def test_a_sound_file_shows_no_damage(truth):
    assert probe(truth.path).damage == ()


@pytest.mark.parametrize("name", list(CODECS))
def test_the_files_that_are_hurt_here_are_sound(sound, name):
    assert probe(sound(name)).damage == ()


@pytest.mark.parametrize("name", ["steady.mkv", "live.mkv", "mpeg4.avi", "transport.ts", "vp9.webm"])
def test_what_a_truncated_file_lost_at_its_end_is_no_damage(cut_short, name):
    assert probe(cut_short(name).path).damage == ()


def test_a_lost_frame_of_an_avi_file_spoils_all_that_follow(sound, tmp_path):
    place, _ = places(sound("steady.avi"))[70]
    video = probe(hurt(sound("steady.avi"), tmp_path / "hole.avi", at=place - 8, by=b"\x91\x07zz"))
    (damage,) = video.damage
    assert damage.start_seconds == pytest.approx(2.0, abs=0.05)
    assert damage.end_seconds >= video.end_seconds
    assert "1 frame of its index is not where it should be" in damage.reason
    assert numbers(video, [0.0, 1.9]) == [0, 57]
    with pytest.raises(DamagedVideo, match=r"hole\.avi: damaged from 2\.0.* to .* s: .* get a sound copy of the file"):
        numbers(video, [0.0, 4.0])


def without_index(path, target):
    """A copy of an AVI file that ends with its last frame, and says so."""
    data = bytearray(path.read_bytes())
    del data[data.rindex(b"idx1") :]
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    target.write_bytes(data)
    return target


def test_bytes_lost_within_an_avi_file_spoil_all_that_follow_though_it_seems_to_end_early(sound, tmp_path):
    place, size = places(sound("steady.avi"))[70]
    for at, remove in ((place - 8, size + 8), (place + size // 2, 2 * size)):  # a whole frame; parts of several
        video = probe(hurt(sound("steady.avi"), tmp_path / "cut.avi", at=at, remove=remove))
        assert video.truncated
        (damage,) = video.damage
        assert damage.start_seconds == pytest.approx(2.0, abs=0.05)
        assert damage.end_seconds >= video.end_seconds
        assert "its chain of frames is broken, and all that follow come too early" in damage.reason
        with pytest.raises(DamagedVideo, match=r"cut\.avi: damaged from 2\.0"):
            list(iter_frames(video, np.asarray([0.0, 4.0]), height=48, width=60, allow_truncated=True))


def test_an_avi_file_without_index_is_sound_until_bytes_of_it_are_overwritten(sound, tmp_path):
    whole = without_index(sound("steady.avi"), tmp_path / "live.avi")
    assert (probe(whole).damage, probe(whole).truncated) == ((), False)
    place, _ = places(whole)[70]
    (damage,) = probe(hurt(whole, tmp_path / "zeros.avi", at=place - 8, by=bytes(3000))).damage
    assert damage.start_seconds == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("name", ["plain.mkv", "live.mkv"])
def test_a_broken_block_of_a_matroska_file_spoils_its_cluster(sound, tmp_path, name):
    place, size = places(sound(name))[70]
    for by in (b"\x00\x00\x00\x00", b"\xa3\x1f\xff\xff"):
        path = hurt(sound(name), tmp_path / f"hole-{name}", at=place - 2 - (size > 126), by=by)
        if not damaged_bytes(path):
            continue
        video = probe(path)
        assert all("its structure is broken" in damage.reason for damage in video.damage)
        assert 1.9 < video.damage[0].start_seconds < 2.4
        assert numbers(video, [0.5, 1.5]) == [15, 45]
        with pytest.raises(DamagedVideo, match=r"its structure is broken"):
            numbers(video, [2.4])
        return
    pytest.fail("no damage was seen")


@pytest.mark.parametrize("name", ["steady.mkv", "hevc.mkv"])
def test_a_flipped_bit_that_no_codec_shows_does_not_match_the_checksum(sound, tmp_path, name):
    place, size = places(sound(name))[70]
    flipped = sound(name).read_bytes()[place + size // 2] ^ 1
    video = probe(hurt(sound(name), tmp_path / f"flip-{name}", at=place + size // 2, by=bytes([flipped])))
    (damage,) = video.damage
    assert damage.reason == "its bytes do not match their checksum"
    with pytest.raises(DamagedVideo, match="checksum"):
        numbers(video, [2.3])
    assert numbers(video, [0.1]) == [3]


@pytest.mark.parametrize("count", [1, 2, "picture"])
def test_lost_packets_of_a_transport_stream_spoil_the_frames_up_to_the_next_keyframe(sound, tmp_path, count):
    found = places(sound("steady.ts"))
    place = found[70][0]
    remove = found[71][0] - place if count == "picture" else 188 * count
    video = probe(hurt(sound("steady.ts"), tmp_path / "lost.ts", at=place, remove=remove))
    (damage,) = video.damage
    begin = video.begin_seconds
    assert damage.start_seconds - begin == pytest.approx(2.0, abs=0.1)
    assert damage.end_seconds - begin == pytest.approx(3.0, abs=0.01)
    assert numbers(video, begin + np.array([0.5, 1.5, 3.5])) == [15, 45, 105]
    with pytest.raises(DamagedVideo, match="packets of the transport stream are missing"):
        numbers(video, [begin + 2.5])


def test_the_lost_begin_of_a_transport_stream_is_damage_but_a_recording_that_starts_midway_is_not(sound, tmp_path):
    data = sound("steady.ts").read_bytes()
    torn = hurt(sound("steady.ts"), tmp_path / "torn.ts", at=300, remove=2000)
    assert "missing or broken" in probe(torn).damage[0].reason
    for start in (188 * 20, 188 * 20 + 77):
        (tmp_path / "recording.ts").write_bytes(data[start:])
        video = probe(tmp_path / "recording.ts")
        assert video.damage == ()
        assert any("before the first keyframe" in problem for problem in video.problems)


def test_packets_of_192_bytes_are_counted_as_those_of_188_are(sound, tmp_path):
    data = sound("steady.ts").read_bytes()
    packets = [b"\x00\x11\x22\x33" + data[at : at + 188] for at in range(0, len(data), 188)]
    (tmp_path / "disc.m2ts").write_bytes(b"".join(packets))
    assert probe(tmp_path / "disc.m2ts").damage == ()
    (tmp_path / "disc.m2ts").write_bytes(b"".join(packets[:200] + packets[202:]))
    assert len(probe(tmp_path / "disc.m2ts").damage) == 1


def test_a_plan_that_touches_the_damage_is_refused_before_a_frame_is_decoded(sound, tmp_path):
    place, _ = places(sound("steady.ts"))[70]
    video = probe(hurt(sound("steady.ts"), tmp_path / "lost.ts", at=place, remove=188))
    plan = Sampling(4, 8).plan_video(video)
    geometry = Preprocessing(height=32, width=40)
    with pytest.raises(DamagedVideo):
        iter_clips(video, plan, geometry)
    assert len(list(iter_clips(video, plan[:3], geometry))) == 3
    assert len(list(iter_clips(video, plan[7:], geometry))) == len(plan) - 7


def test_a_picture_that_starts_in_a_transport_stream_and_does_not_come_is_lost(sound, tmp_path):
    data = bytearray(sound("steady.ts").read_bytes())
    place, _ = places(sound("steady.ts"))[70]
    first = bytes(data[place : place + 188])
    starts_data = first.index(b"\x00\x00\x01\xe0") + 4
    broken = first[:starts_data] + first[starts_data:].replace(b"\x00\x00\x01", b"\x00\x00\x02")
    data[place : place + 188] = broken
    (tmp_path / "lost.ts").write_bytes(data)
    video = probe(tmp_path / "lost.ts")
    assert video.measured.num_frames == NUM_FRAMES - 1
    assert [damage.reason for damage in video.damage] == ["a picture is lost"]
    assert 1.9 < video.damage[0].start_seconds - video.begin_seconds < 2.4


def test_the_clock_of_a_transport_stream_may_start_anew(sound, tmp_path):
    """It does so every 26.5 hours."""
    path = tmp_path / "wrapped.ts"
    with av.open(str(sound("steady.ts"))) as whole, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.size:
                packet.pts, packet.dts = packet.pts + (1 << 33) - 200_000, packet.dts + (1 << 33) - 200_000
                packet.stream = stream
                copy.mux(packet)
    video = probe(path)
    assert (video.damage, video.measured.num_frames) == ((), NUM_FRAMES)
    assert video.duration_seconds == pytest.approx(5.0, abs=0.1)
