"""Data sets of short clips: each is read from files in its official layout, and every row is used or named."""

import json

import pytest
from command import command_in_process

from longvid.benchmarks.recognition.diving48 import diving48_benchmark
from longvid.benchmarks.recognition.hmdb51 import hmdb51_benchmark
from longvid.benchmarks.recognition.kinetics import kinetics_benchmark
from longvid.benchmarks.recognition.something import something_benchmark
from longvid.benchmarks.recognition.ucf101 import ucf101_benchmark
from longvid.errors import AnnotationError
from longvid.pipelines.prepare import prepare
from longvid.recognition.labels import sided_classes
from longvid.tasks import Manifest, infer_task
from longvid.tasks.class_names import name_classes

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"


@pytest.fixture
def kinetics(tmp_path):
    """Lists with a quoted label, an id that starts with `-`, a source in both sets and four rows of no use."""
    folder = tmp_path / "kinetics"
    folder.mkdir()
    (folder / "train.csv").write_text(
        HEADER
        + '"zumba",-aaaaaaaaa1,10,20,train,0\nabseiling,_bbbbbbbbb2,1.5,11.5,train,0\n'
        + '"arm wrestling",Ccccccccc-3,0,10,train,0\n'
        + "abseiling,short,0,10,train,0\n"
    )
    (folder / "validate.csv").write_text(
        HEADER
        + "abseiling,-aaaaaaaaa1,40,50,validate,0\nzumba,ddddddddd_4,0,10,validate,0\n"
        + "unheard of,eeeeeeeee-5,0,10,validate,0\n,fffffffff-6,0,10,validate,0\nzumba,ggggggggg-7,9,3,validate,0\n"
    )
    (folder / "test.csv").write_text("youtube_id,time_start,time_end,split\nhhhhhhhhh-8,0,10,test\n")
    return folder


def test_kinetics_clips_are_numbered_by_the_training_lists_alphabet(kinetics):
    listed = kinetics_benchmark(kinetics)
    rows = {row.key: row for row in listed.manifest}
    assert rows["-aaaaaaaaa1_000010_000020"].label == 2
    assert rows["_bbbbbbbbb2_000001_000011"].label == 0
    assert rows["Ccccccccc-3_000000_000010"].value("label_names") == {"1": "arm wrestling"}
    assert rows["-aaaaaaaaa1_000040_000050"].split == "test"
    assert rows["-aaaaaaaaa1_000040_000050"].value("official_split") == "val"
    unlabelled = rows["hhhhhhhhh-8_000000_000010"]
    assert (unlabelled.split, unlabelled.label) == (None, None)
    reasons = [str(fault) for fault in listed.faults]
    assert len(reasons) == 4
    assert "train.csv:5: 'short' is not a YouTube id" in reasons[0]
    assert "label 'unheard of' is not among the classes" in reasons[1]
    assert reasons[2].endswith("has no label")
    assert "time_start 9 is not before time_end 3" in reasons[3]
    assert listed.splits[0].task.classes == ("abseiling", "arm wrestling", "zumba")


def test_kinetics_clips_are_found_by_either_name_and_shared_sources_are_leaks(kinetics, tmp_path, make_video):
    make_video(tmp_path / "videos" / "train" / "zumba" / "-aaaaaaaaa1_000010_000020.mp4")
    make_video(tmp_path / "videos" / "ddddddddd_4.mp4")
    (tmp_path / "videos" / "_bbbbbbbbb2.mp4").write_bytes(b"not a video")
    prepared = prepare(kinetics_benchmark(kinetics), tmp_path / "videos")
    assert prepared.counts == {"found": 2, "unreadable": 1, "missing": 3}
    assert prepared.exit_status == 3
    (leak,) = prepared.leaks
    assert (leak.kind, leak.keys, leak.num_test) == ("group", ("-aaaaaaaaa1_000040_000050",), 2)
    (count,) = prepared.splits
    assert count.listed == {"train": 3, "val": 0, "test": 2}
    assert count.found == {"train": 1, "val": 0, "test": 1}


def test_something_something_clips_take_the_class_of_their_template(tmp_path):
    names = ["Pushing something from left to right", "Holding something next to something"]
    (tmp_path / "labels.json").write_text(json.dumps({name: str(number) for number, name in enumerate(names)}))
    (tmp_path / "something-something-v2-train.json").write_text(
        json.dumps(
            [
                {
                    "id": "78687",
                    "label": "holding potato next to bottle",
                    "template": "Holding [something] next to [something]",
                },
                {"id": "2", "template": "Melting [something]"},
                {"id": "../3", "template": "Holding [something] next to [something]"},
            ]
        )
    )
    (tmp_path / "validation.json").write_text(
        json.dumps([{"id": "4", "template": "Pushing [something] from left to right"}])
    )
    (tmp_path / "test.json").write_text(json.dumps([{"id": "5"}]))
    listed = something_benchmark(tmp_path)
    rows = {row.key: row for row in listed.manifest}
    assert (rows["78687"].label, rows["78687"].split) == (1, "train")
    assert (rows["4"].label, rows["4"].split, rows["4"].value("official_split")) == (0, "test", "val")
    assert (rows["5"].label, rows["5"].split) == (None, None)
    assert [fault.reason.partition(": ")[2] or fault.reason for fault in listed.faults] == [
        "template 'Melting something' is not in labels.json",
        "id '../3' leads out of the folder",
    ]
    assert "174" in listed.notes[-1]
    assert sided_classes(name_classes(infer_task(listed.manifest), listed.manifest).classes)


def test_ucf101_clips_take_the_class_of_their_folder(tmp_path):
    (tmp_path / "classInd.txt").write_text("1 HandstandPushups\n2 JumpingJack\n3 JumpRope\n")
    (tmp_path / "trainlist01.txt").write_text(
        "HandstandPushups/v_HandStandPushups_g08_c01.avi 1\nJumpRope/v_JumpRope_g01_c02.avi 3\n"
        "JumpRope/v_JumpRope_g02_c02.avi 2\nSwing/v_Swing_g02_c02.avi 4\n"
    )
    (tmp_path / "testlist01.txt").write_text(
        "HandstandPushups/v_HandStandPushups_g08_c02.avi\r\nJumpRope/v_JumpRope_g01_c02.avi\r\n"
    )
    (tmp_path / "trainlist02.txt").write_text("HandstandPushups/v_HandStandPushups_g08_c02.avi 1\n")
    listed = ucf101_benchmark(tmp_path)
    rows = {row.key: row for row in listed.manifest}
    assert rows["HandstandPushups/v_HandStandPushups_g08_c01"].label == 0
    assert rows["JumpRope/v_JumpRope_g01_c02"].label == 2
    assert rows["HandstandPushups/v_HandStandPushups_g08_c02"].value("s1") == "test"
    assert rows["HandstandPushups/v_HandStandPushups_g08_c02"].value("s2") == "train"
    reasons = [fault.reason for fault in listed.faults]
    assert "has class 2, its folder is class 3" in reasons[0]
    assert "is not a video in the folder of a class" in reasons[1]
    assert "is both in trainlist01 and in testlist01" in reasons[2]
    leaks = prepare(listed, tmp_path, check=False).leaks
    assert [(leak.column, leak.keys) for leak in leaks] == [("s1", ("HandstandPushups/v_HandStandPushups_g08_c02",))]


def test_hmdb51_clips_of_use_0_are_in_no_split(tmp_path):
    (tmp_path / "brush_hair_test_split1.txt").write_text(
        "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \nRex#(1);&_brush_hair_u_nm_0.avi 2\n"
        "Other_brush_hair_f_0.avi 0\nx 7\n"
    )
    (tmp_path / "wave_test_split1.txt").write_text("April_09_wave_u_nm_0.avi 2\n")
    listed = hmdb51_benchmark(tmp_path)
    rows = {row.key: row for row in listed.manifest}
    assert {key: row.split for key, row in rows.items()} == {
        "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0": "train",
        "brush_hair/Rex#(1);&_brush_hair_u_nm_0": "test",
        "brush_hair/Other_brush_hair_f_0": None,
        "wave/April_09_wave_u_nm_0": "test",
    }
    assert [row.label for row in rows.values()] == [0, 0, 0, 1]
    assert rows["wave/April_09_wave_u_nm_0"].group == "April_09"
    assert "does not end in 0, 1 or 2" in listed.faults[0].reason


def test_diving48_clips_of_version_1_are_noted(tmp_path):
    (tmp_path / "Diving48_V2_train.json").write_text(
        json.dumps(
            [
                {"vid_name": "-mwTGGfhFFU_00045", "label": 1, "start_frame": 0, "end_frame": 99},
                {"vid_name": "b", "label": 2},
            ]
        )
    )
    (tmp_path / "Diving48_test.json").write_text(json.dumps([{"vid_name": "-mwTGGfhFFU_00046", "label": 0}]))
    (tmp_path / "Diving48_vocab.json").write_text(json.dumps([["Back", "15som"], ["Forward", "25som"]]))
    listed = diving48_benchmark(tmp_path)
    rows = {row.key: row for row in listed.manifest}
    assert rows["-mwTGGfhFFU_00045"].value("label_names") == {"1": "Forward 25som"}
    assert rows["-mwTGGfhFFU_00045"].value("end_frame") == 99
    assert "version 1" in listed.notes[0]
    assert "label 2 is not a class number from 0 to 1" in listed.faults[0].reason
    assert prepare(listed, tmp_path, check=False).leaks[0].keys == ("-mwTGGfhFFU_00046",)


def test_clips_are_prepared_from_the_command_line_and_read_back(kinetics, tmp_path, make_video, capsys):
    longvid = command_in_process(capsys)
    make_video(tmp_path / "videos" / "-aaaaaaaaa1_000010_000020.mp4")
    out = tmp_path / "kinetics.jsonl"
    status, told, _ = longvid(
        "prepare", "kinetics", "--annotations", kinetics, "--videos", tmp_path / "videos", "-o", out
    )
    assert status == 3
    assert "kinetics: 6 videos listed, 1 found" in told
    manifest = Manifest.read(out)
    assert manifest.row("-aaaaaaaaa1_000010_000020").label == 2
    assert name_classes(infer_task(manifest), manifest).classes == ("0 abseiling", "1 arm wrestling", "2 zumba")


@pytest.mark.parametrize(
    "reader", [kinetics_benchmark, something_benchmark, ucf101_benchmark, hmdb51_benchmark, diving48_benchmark]
)
def test_a_folder_without_the_lists_of_clips_is_refused_by_name(reader, tmp_path):
    with pytest.raises(AnnotationError, match="holds no") as refused:
        reader(tmp_path)
    assert "\n" not in str(refused.value)
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    if reader is kinetics_benchmark:
        with pytest.raises(AnnotationError, match=r"train\.csv:1: has no column youtube_id and time_start"):
            reader(tmp_path)
