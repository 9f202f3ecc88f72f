"""A damaged film keeps its sound clips, where that is allowed."""

from dataclasses import replace

import av
import numpy as np
import pytest

from longvid.clips.sampling import Sampling
from longvid.pipelines.cli import main
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.stores import AbsentClips, ConversionError, FeatureStore, verify
from longvid.stores.convert import export_hdf5, export_npy
from longvid.video.numbered import numbered_picture
from longvid.video.writing import write_video

NUM_FRAMES, HEIGHT, WIDTH = 150, 96, 120
CLIPS_PER_SHARD = 6
JOB = ExtractionJob(
    "patch-statistics", sampling=Sampling(frames=2, fps=8.0, stride_seconds=0.25), torch_threads=1, batch_clips=3
)
DAMAGED = ("holes.ts", "crc.mkv", "zeroed.mp4")


def pictures():
    """Five seconds of numbered pictures under moving grain, so that every packet holds data."""
    grain = np.random.default_rng(0).integers(-15, 16, (HEIGHT, WIDTH, 3))
    for number in range(NUM_FRAMES):
        picture = numbered_picture(number, HEIGHT, WIDTH).astype(int) + np.roll(grain, 3 * number, axis=1)
        yield np.clip(picture, 0, 255).astype(np.uint8)


def packet_at(path, share):
    """Where the video packet stands that is that share of the way into the file, and how long it is."""
    with av.open(str(path)) as container:
        found = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
    return found[int(share * len(found))]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """`films[name]` is (the sound film, the same with a damaged stretch in its middle), a keyframe each second."""
    folder, made = tmp_path_factory.mktemp("films"), {}
    options = {"codec": "libx264", "codec_options": {"sc_threshold": "0", "preset": "veryfast"}}
    for name in DAMAGED:
        sound = write_video(folder / f"sound-{name}", pictures(), keyframe_every=30, **options)
        at, size = packet_at(sound, 0.5)
        data = bytearray(sound.read_bytes())
        if name.endswith(".ts"):
            at = at // 188 * 188
            del data[at : at + 188]
        elif name.endswith(".mkv"):
            data[at + size // 2 : at + size // 2 + 8] = b"\xff" * 8
        else:
            stop, _ = packet_at(sound, 0.58)
            data[at:stop] = bytes(stop - at)
        damaged = folder / name
        damaged.write_bytes(data)
        made[name] = (sound, damaged)
    return made


def run(path, location, job=JOB, *, allow=True, scheduler="inline", **options):
    return extract(
        [VideoRequest("film", str(path))],
        replace(job, allow_damaged=allow),
        location,
        scheduler=scheduler,
        clips_per_shard=CLIPS_PER_SHARD,
        **options,
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("name", DAMAGED)
def test_the_sound_clips_of_a_damaged_film_are_those_of_the_sound_film(films, tmp_path, name, dtype):
    sound, damaged = films[name]
    job = replace(JOB, dtype=dtype)
    refused = run(damaged, tmp_path / "refused.zarr", job, allow=False)
    assert "--allow-damaged" in refused.failed[0].reason
    assert [(row.status, row.reason) for row in run(sound, tmp_path / "sound.zarr", job).rows] == [("done", "")]
    report = run(damaged, tmp_path / "x.zarr", job)
    (row,) = report.rows
    assert (row.status, report.exit_status) == ("done", 0)
    whole = FeatureStore.open(tmp_path / "sound.zarr").video("film")
    store = FeatureStore.open(tmp_path / "x.zarr")
    video = store.video("film")
    assert row.damaged_clips == (~video.present).sum() == store.num_damaged_clips()["film"]
    assert 1 <= row.damaged_clips <= 16
    assert f"partial: {row.damaged_clips} of {video.num_clips} clips" in row.problems[-1]
    tokens = video.read(0, video.num_clips, missing="nan")
    assert np.isnan(tokens[~video.present]).all()
    np.testing.assert_array_equal(tokens[video.present], whole.read(0, whole.num_clips)[video.present])
    np.testing.assert_array_equal(video.read(0, video.num_clips, missing="drop"), tokens[video.present])
    middle = video.seconds[~video.present].mean()
    assert 2 < middle < 4
    assert whole.present.all()
    assert verify(store) == []


@pytest.mark.parametrize("name", DAMAGED)
def test_the_list_of_damaged_clips_says_which_when_and_why(films, tmp_path, name):
    run(films[name][1], tmp_path / "x.zarr")
    video = FeatureStore.open(tmp_path / "x.zarr").video("film")
    listed = np.concatenate([np.arange(one.first_clip, one.stop_clip) for one in video.damaged])
    np.testing.assert_array_equal(listed, np.flatnonzero(~video.present))
    for one in video.damaged:
        assert one.start_seconds == video.seconds[one.first_clip, 0]
        assert one.end_seconds == video.seconds[one.stop_clip - 1, 1]
        assert "damaged" in one.reason
        assert str(films[name][1]) not in one.reason


def test_clips_that_are_not_there_are_never_served_as_numbers(films, tmp_path):
    run(films["zeroed.mp4"][1], tmp_path / "x.zarr")
    video = FeatureStore.open(tmp_path / "x.zarr").video("film")
    absent = int(np.flatnonzero(~video.present)[0])
    for read in (video.read, video.read_stored):
        with pytest.raises(AbsentClips, match=rf"clips {absent} to .* is damaged and cannot be decoded.*missing="):
            read(absent, absent + 1)
    with pytest.raises(AbsentClips):
        video.read_seconds(*video.seconds[absent])
    assert np.isfinite(video.read(0, absent)).all()


@pytest.mark.parametrize("export", [lambda s, p: export_npy(s, p), lambda s, p: export_hdf5(s, p / "x.h5")])
def test_an_export_refuses_a_video_that_lacks_clips_before_it_writes(films, tmp_path, export):
    run(films["zeroed.mp4"][1], tmp_path / "x.zarr")
    (tmp_path / "out").mkdir()
    with pytest.raises(ConversionError, match=r"video 'film' lacks .* clips"):
        export(FeatureStore.open(tmp_path / "x.zarr"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", DAMAGED)
def test_a_run_that_lost_shards_makes_the_same_bytes_again(films, tmp_path, file_bytes, name):
    path = films[name][1]
    run(path, tmp_path / "once.zarr")
    run(path, tmp_path / "again.zarr")
    store = FeatureStore.open(tmp_path / "again.zarr", mode="a")
    store.reopen("film")
    absent = int(np.flatnonzero(~FeatureStore.open(tmp_path / "once.zarr").video("film").present)[0])
    for shard in {0, absent // CLIPS_PER_SHARD}:
        (tmp_path / f"again.zarr/videos/film/tokens/c.{shard}.0.0").unlink()
    assert run(path, tmp_path / "again.zarr").rows[0].status == "done"
    assert file_bytes(tmp_path / "again.zarr") == file_bytes(tmp_path / "once.zarr")


def test_a_video_that_was_reopened_keeps_what_is_known_of_its_damage(films, tmp_path, file_bytes):
    run(films["zeroed.mp4"][1], tmp_path / "x.zarr")
    before = file_bytes(tmp_path / "x.zarr")
    store = FeatureStore.open(tmp_path / "x.zarr", mode="a")
    store.reopen("film")
    assert verify(store) == []
    store.complete("film")
    store.update_catalogue()
    assert file_bytes(tmp_path / "x.zarr") == before


@pytest.mark.parametrize("name", DAMAGED)
def test_without_the_flag_a_partial_video_stays_and_is_said_to_be_partial(films, tmp_path, file_bytes, name):
    run(films[name][1], tmp_path / "x.zarr")
    before = file_bytes(tmp_path / "x.zarr")
    report = run(films[name][1], tmp_path / "x.zarr", allow=False)
    assert [row.status for row in report.rows] == ["kept"]
    assert "partial: " in report.rows[0].problems[-1]
    assert file_bytes(tmp_path / "x.zarr") == before


def test_a_sound_film_gives_the_same_store_with_and_without_the_flag(films, tmp_path, file_bytes):
    run(films["crc.mkv"][0], tmp_path / "with.zarr")
    run(films["crc.mkv"][0], tmp_path / "without.zarr", allow=False)
    made = file_bytes(tmp_path / "with.zarr")
    assert made == file_bytes(tmp_path / "without.zarr")
    assert not any(b"damaged" in data for name, data in made.items() if name.endswith("zarr.json"))


def test_dask_workers_mark_the_same_clips(films, tmp_path, file_bytes):
    run(films["zeroed.mp4"][1], tmp_path / "here.zarr")
    run(films["zeroed.mp4"][1], tmp_path / "there.zarr", scheduler="local", workers=1)
    assert file_bytes(tmp_path / "there.zarr") == file_bytes(tmp_path / "here.zarr")


@pytest.mark.parametrize("name", ["zeroed.mp4", "holes.ts"])
def test_a_video_without_a_sound_clip_fails(films, tmp_path, name):
    sampling = Sampling(frames=2, fps=10.0, segments=1, span="listed")
    request = VideoRequest("film", str(films[name][1]), 2.6, 2.95)
    job = replace(JOB, sampling=sampling, allow_damaged=True)
    for _ in range(2):
        (row,) = extract([request], job, tmp_path / "x.zarr", scheduler="inline").rows
        assert row.status == "failed"
        assert "none of " in row.reason
        assert "clips is" in row.reason
    assert "film" not in FeatureStore.open(tmp_path / "x.zarr")


def test_verify_accepts_nan_only_where_the_list_says_so(films, tmp_path):
    """A shard with the right digests, in a video whose document no longer lists the damage."""
    run(films["zeroed.mp4"][1], tmp_path / "x.zarr")
    store = FeatureStore.open(tmp_path / "x.zarr", mode="a")
    record = store.record("film")
    (tmp_path / "x.zarr/videos/film/zarr.json").write_bytes(replace(record, damaged=()).to_bytes())
    found = [str(damage) for damage in verify(store) if damage.path.endswith(".0.0")]
    assert found
    assert all("holds nan; a feature is finite" in line for line in found)


def test_the_commands_extract_and_info_count_the_clips_that_are_not_there(films, tmp_path, capsys):
    words = ["extract", str(films["zeroed.mp4"][1]), "-e", "patch-statistics", "--scheduler", "inline"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "-o", str(tmp_path / "x.zarr"), "--allow-damaged"])
    assert ended.value.code == 0
    assert "partial: " in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        main(["info", str(tmp_path / "x.zarr"), "--videos"])
    count = FeatureStore.open(tmp_path / "x.zarr").info().damaged_clips
    assert count > 0
    assert f"{count} clips of 1 damaged video" in capsys.readouterr().out
