"""What messages of `extract`, `status` and the commands for a cluster say to do is done, and helps."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from walks import Walk

from longvid.stores import FeatureStore

ENCODER = "-e patch-statistics --option size=32 --option dim=16 --option frames=2 --pooling mean --seed 3"
AS_THERE = f"{ENCODER} --sampling frames=2,fps=4,stride_seconds=0.5"
"""The settings of `features.zarr`."""
ONE = f"extract v0.mp4 {AS_THERE} --scheduler inline"


def ffmpeg(words: str) -> Callable[[Path], object]:
    """Runs ffmpeg in the folder, as a message says to."""
    return lambda folder: subprocess.run(f"ffmpeg -y -loglevel error {words}", shell=True, check=True, cwd=folder)


def written(name: str, text: str) -> Callable[[Path], object]:
    """Writes a file."""
    return lambda folder: (folder / name).write_text(text)


def two_of_a_name(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / "both" / name).mkdir(parents=True)
        shutil.copy(folder / "v0.mp4", folder / "both" / name / "x.mp4")


def failed_once(folder: Path) -> None:
    (folder / "v9.mp4").write_bytes(b"no video")


def made_sound(folder: Path) -> None:
    shutil.copy(folder / "v1.mp4", folder / "v9.mp4")


def cut(folder: Path) -> None:
    ffmpeg("-i v3.mp4 -c copy whole.mkv")(folder)
    whole = (folder / "whole.mkv").read_bytes()
    (folder / "cut.mkv").write_bytes(whole[: len(whole) * 7 // 10])


def hurt(folder: Path) -> None:
    """A transport stream with a lost packet."""
    ffmpeg("-i v3.mp4 -c:v libx264 -g 8 -bf 0 hurt.ts")(folder)
    data = (folder / "hurt.ts").read_bytes()
    at = len(data) // 2 // 188 * 188
    (folder / "hurt.ts").write_bytes(data[:at] + data[at + 10 * 188 :])


def unfinished(folder: Path) -> None:
    """A video of the store without its only shard."""
    (shard,) = (folder / "features.zarr/videos/v0/tokens").glob("c.*")
    shard.unlink()


SETTINGS = "inputs: [v0.mp4]\nout: new.zarr\nencoder: patch-statistics\noption: [size=32]\nscheduler: inline\n"

WALKS = {
    "no encoder": Walk(
        "extract v0.mp4 -o new.zarr --scheduler inline",
        "give --encoder NAME, or --recipe NAME",
        f"{ONE} -o new.zarr",
    ),
    "an encoder that is not there": Walk(
        "extract v0.mp4 -e patch-statistic -o new.zarr --scheduler inline",
        "did you mean patch-statistics?",
        f"{ONE} -o new.zarr",
    ),
    "an option that is not there": Walk(
        "extract v0.mp4 -e patch-statistics --option sizes=32 -o new.zarr --scheduler inline",
        "its options: ",
        f"{ONE} -o new.zarr",
    ),
    "a pooling that the encoder lacks": Walk(
        f"{ONE} -o new.zarr --pooling class", "is not one of its tokens, spatial, temporal, mean", f"{ONE} -o new.zarr"
    ),
    "two stores for one encoder": Walk(
        f"{ONE} -o new.zarr -o other.zarr",
        "give an --out for each",
        f"{ONE} -o new.zarr -e patch-statistics -o other.zarr".replace(" --option dim=16", "").replace(
            " --option size=32", ""
        ),
    ),
    "another recipe": Walk(
        f"{ONE} -o features.zarr --dtype float32", "choose another location or the settings", f"{ONE} -o new.zarr"
    ),
    "another recipe, its own settings": Walk(
        f"{ONE} -o features.zarr --dtype float32",
        "or the settings the store was made with",
        f"{ONE} -o features.zarr",
    ),
    "a folder of others": Walk(
        f"{ONE} -o other",
        "choose a new or an empty folder",
        f"{ONE} -o new.zarr",
        first=lambda folder: ((folder / "other").mkdir(), (folder / "other/mine.txt").write_text("mine")),
    ),
    "a file in the store's place": Walk(
        f"{ONE} -o manifest.jsonl/new.zarr", "choose another place for the store", f"{ONE} -o new.zarr"
    ),
    "two files of a name": Walk(
        f"extract both/one/x.mp4 both/two/x.mp4 {AS_THERE} --scheduler inline -o new.zarr",
        "give the folder that holds both",
        f"extract both {AS_THERE} --scheduler inline -o new.zarr",
        first=two_of_a_name,
    ),
    "two files of a name, in a manifest": Walk(
        f"extract both/one/x.mp4 both/two/x.mp4 {AS_THERE} --scheduler inline -o new.zarr",
        "or a manifest with a key for each",
        f"extract keys.csv {AS_THERE} --scheduler inline -o new.zarr",
        do=written("keys.csv", "key,path\na,both/one/x.mp4\nb,both/two/x.mp4\n"),
        first=two_of_a_name,
    ),
    "a manifest without paths": Walk(
        f"extract m.csv {AS_THERE} --scheduler inline -o new.zarr",
        "add a `path` column",
        do=written("m.csv", "key,path\nv0,v0.mp4\n"),
        first=written("m.csv", "key\nv0\n"),
    ),
    "both about failures": Walk(
        f"{ONE} -o new.zarr --skip-failed --retry-failed", "give one of the two", f"{ONE} -o new.zarr"
    ),
    "a share": Walk(f"{ONE} -o new.zarr --share 1", "give INDEX/COUNT, such as 0/64", f"{ONE} -o new.zarr --share 0/1"),
    "a deadline that none can keep": Walk(
        f"{ONE} -o new.zarr --deadline-seconds 600",
        "use 'serial'",
        f"extract v0.mp4 {AS_THERE} -o new.zarr --deadline-seconds 600 --scheduler serial",
    ),
    "clips that no plan holds": Walk(
        f"extract v0.mp4 {ENCODER} -o new.zarr --scheduler inline --sampling frames=2,fps=4,stride_seconds=0.0000001",
        "take a longer stride_seconds or a lower fps",
        f"{ONE} -o new.zarr",
        do=lambda folder: shutil.rmtree(folder / "new.zarr"),
    ),
    "a store that a refused run has left": Walk(
        f"{ONE} -o new.zarr",
        "it holds no video yet: delete it",
        do=lambda folder: shutil.rmtree(folder / "new.zarr"),
        first=lambda folder: FeatureStore.create(
            folder / "new.zarr", FeatureStore.open(folder / "features.zarr").recipe.model_copy(update={"dim": 9})
        ),
    ),
    "two rules of sampling": Walk(
        f"extract v0.mp4 {ENCODER} -o new.zarr --scheduler inline --sampling frames=2,segments=3,stride_seconds=1",
        "give one of the two",
        f"extract v0.mp4 {ENCODER} -o new.zarr --scheduler inline --sampling frames=2,segments=3",
    ),
    "a report that cannot be written": Walk(
        f"{ONE} -o new.zarr --report manifest.jsonl/r.jsonl",
        "name another place (--report)",
        f"{ONE} -o new.zarr --report r.jsonl",
    ),
    "a log that cannot be written": Walk(
        f"{ONE} -o new.zarr --log-file manifest.jsonl/l.jsonl",
        "name another file",
        f"{ONE} -o new.zarr --log-file l.jsonl",
    ),
    "an unknown setting in a file": Walk(
        "extract --settings s.yaml",
        "do you mean 'encoder'?",
        do=written("s.yaml", SETTINGS),
        first=written("s.yaml", SETTINGS.replace("encoder:", "encoders_:").replace("encoders_", "encodr")),
    ),
    "code in a settings file": Walk(
        "extract --settings s.yaml",
        "give --encoder encode:build, or --allow-code",
        "extract --settings s.yaml --encoder patch-statistics",
        first=written("s.yaml", SETTINGS.replace("patch-statistics", "encode:build")),
    ),
    "a variable that is not set": Walk(
        "extract --settings s.yaml",
        "set it, or write the value",
        do=written("s.yaml", f"{SETTINGS}storage: {{s3: {{key: abc}}}}\n"),
        first=written("s.yaml", f"{SETTINGS}storage: {{s3: {{key: $NOT_THERE_AT_ALL}}}}\n"),
    ),
    "secrets in a wrong form": Walk(
        "extract --settings s.yaml",
        "give named options for each protocol",
        do=written("s.yaml", f"{SETTINGS}storage: {{s3: {{key: abc}}}}\n"),
        first=written("s.yaml", f"{SETTINGS}storage: [abc]\n"),
    ),
    "a part of a file": Walk(
        f"extract cut.mkv {AS_THERE} --scheduler inline -o new.zarr",
        "use --allow-truncated",
        f"extract cut.mkv {AS_THERE} --scheduler inline -o new.zarr --allow-truncated",
        first=cut,
    ),
    "a damaged file": Walk(
        f"extract hurt.ts {AS_THERE} --scheduler inline -o new.zarr",
        "use --allow-damaged",
        f"extract hurt.ts {AS_THERE} --scheduler inline -o new.zarr --allow-damaged",
        first=hurt,
    ),
    "a damaged file, made anew": Walk(
        f"extract hurt.ts {AS_THERE} --scheduler inline -o new.zarr",
        "get a sound copy of the file",
        do=ffmpeg("-i v3.mp4 -c:v libx264 hurt.ts"),
        first=hurt,
    ),
    "a container that is not opened": Walk(
        f"extract a.mjpg {AS_THERE} --scheduler inline -o new.zarr",
        "ffmpeg -i a.mjpg -c copy a.mkv",
        f"extract a.mkv {AS_THERE} --scheduler inline -o new.zarr",
        do=ffmpeg("-i a.mjpg -c copy a.mkv"),
        first=ffmpeg("-i v0.mp4 -c:v mjpeg -pix_fmt yuvj420p -f smjpeg a.mjpg"),
    ),
    "a clock that jumps back": Walk(
        f"extract jump.ts {AS_THERE} --scheduler inline -o new.zarr",
        "ffmpeg -i jump.ts -c copy fixed.mkv",
        f"extract fixed.mkv {AS_THERE} --scheduler inline -o new.zarr",
        do=ffmpeg("-i jump.ts -c copy fixed.mkv"),
        first=lambda folder: (
            ffmpeg("-i v3.mp4 -c copy one.ts")(folder),
            (folder / "jump.ts").write_bytes(2 * (folder / "one.ts").read_bytes()),
        ),
    ),
    "a clock that leaps": Walk(
        f"extract leap.mkv {AS_THERE} --scheduler inline -o new.zarr",
        "-c copy cut.mkv",
        f"extract cut.mkv {AS_THERE} --scheduler inline -o new.zarr",
        do=ffmpeg("-i leap.mkv -to 3 -c copy cut.mkv"),
        first=ffmpeg(
            "-i v3.mp4 -c:v libx264 -bf 0 -vf 'setpts=PTS+gte(T\\,4)*95000/TB' -fps_mode passthrough leap.mkv"
        ),
    ),
    "a rate that none has": Walk(
        f"extract slow.mkv {AS_THERE} --scheduler inline -o new.zarr",
        "ffmpeg -r 25 -i slow.mkv fixed.mkv",
        f"extract fixed.mkv {AS_THERE} --scheduler inline -o new.zarr",
        do=ffmpeg("-r 25 -i slow.mkv fixed.mkv"),
        first=ffmpeg("-i v0.mp4 -c:v libx264 -bf 0 -vf 'setpts=N*3600/TB' -fps_mode passthrough slow.mkv"),
    ),
    "an empty file": Walk(
        f"extract v9.mp4 {AS_THERE} --scheduler inline -o new.zarr",
        "copy or download it again",
        do=made_sound,
        first=lambda folder: (folder / "v9.mp4").write_bytes(b""),
    ),
    "a playlist": Walk(
        f"extract list.m3u8 {AS_THERE} --scheduler inline -o new.zarr",
        "give those files themselves",
        f"{ONE} -o new.zarr",
        first=written("list.m3u8", "#EXTM3U\n#EXTINF:5,\nv0.mp4\n#EXT-X-ENDLIST\n"),
    ),
    "a file that is not what the manifest says": Walk(
        f"extract m.csv {AS_THERE} --scheduler inline -o new.zarr",
        "sha256",
        do=written("m.csv", "key,path\nv0,v0.mp4\n"),
        first=written("m.csv", f"key,path,sha256\nv0,v0.mp4,{'0' * 64}\n"),
    ),
    "a folder in a URL's place": Walk(
        "extract --settings s.yaml",
        "is not a list of named settings",
        do=written("s.yaml", SETTINGS),
        first=written("s.yaml", "- a\n"),
    ),
    "a shard that is gone": Walk(
        f"{ONE} -o features.zarr", "run `longvid repair", do="repair features.zarr", first=unfinished
    ),
    "a container of keys": Walk(
        "cluster-keys keys",
        "name another folder",
        "cluster-keys more",
        first=lambda folder: (folder / "keys").mkdir() or (folder / "keys/key.pem").write_text("x"),
    ),
}


@pytest.mark.parametrize("name", WALKS)
def test_what_a_message_of_an_extraction_says_helps(name: str, walk: Callable[[Walk], str]) -> None:
    walk(WALKS[name])
