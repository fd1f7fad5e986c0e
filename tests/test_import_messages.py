"""Hostile and broken input: a sentence with file and next step, never a traceback; what is left out is logged."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
from test_importers import log, picture, write

from medlab import cli, storage
from medlab.cohorts import datasets
from medlab.imaging import formats
from medlab.intake import arguments, drafts, importers, manual, problems


def classes(root, n=2):
    for i in range(2 * n):
        picture(root / "ab"[i % 2] / f"{i}.png", i)
    return root


def bomb(path, name="x"):
    """An npz that announces 6 GB and holds little."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (60_000, 100_000)})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", header.getvalue() + bytes(10**6))


def cut_off(path):
    np.savez(path, x=np.zeros((4, 9, 9)))
    path.write_bytes(path.read_bytes()[:300])


def deep(path):
    path.write_text('{"images": [], "annotations": [], "categories": ' + "[" * 100_000 + "]" * 100_000 + "}")


def digits(path):
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": []})[:-1] + ', "x": ' + "9" * 6000 + "}")


DATES = ["--key", "id", "--start", "s", "--end", "e", "--event", "ev"]


@pytest.mark.parametrize("name, make, options, said", [
    ("a.npz", cut_off, [], "a.npz: no npz, or cut off"),
    ("a.npz", bomb, [], "more than 1024 MiB"),
    ("a.npz", bomb, ["--frames"], "none of 1 files is an image"),
    ("a.npz", lambda p: (np.savez(p, x=np.zeros((3, 9, 9))), bomb(p, "y")),
     ["--member", "x", "--frames", "--label-member", "y"], "'y' announces (60000, 100000)"),
    ("a.npz", lambda p: np.savez(p, x=np.zeros((3, 9, 9)), y=[1, 2]),
     ["--member", "x", "--frames", "--label-member", "y"], "2 values of label for 3 images"),
    ("a.json", deep, [], "a.json: not readable as json"),
    ("a.json", digits, [], "a.json: not readable as json"),
    ("t.csv", lambda p: write(p, "id,s,e,ev\n1,foo,bar,1\n2,baz,qux,0\n"), DATES,
     "no date could be read, such as 'foo'"),
    ("t.csv", lambda p: write(p, "id,t,ev\n1,-5,1\n2,-6,0\n"), ["--key", "id", "--time", "t", "--event", "ev"],
     "no row of 2 can be used: time -5 days is negative"),
    ("t.csv", lambda p: write(p, "id,a\n1,x\n"), ["--tables", "t.csv", "--image", "{id:zz}.png"],
     "does not fit '{id:zz}'"),
    ("t.xlsx", lambda p: p.write_bytes(b"PK\3\4junk"), [], "t.xlsx: not readable as Excel"),
    ("t.csv", lambda p: p.mkdir(), [], "0 files, none an image"),
    ("t.csv", os.mkfifo, [], "neither a file nor a folder"),
    ("t.csv", lambda p: write(p, "id,a\n1,x\n"), ["--patient-pattern", "p("], "no regular expression"),
])
def test_broken_sources_end_in_a_sentence(name, make, options, said, workspace, capsys):
    make(workspace / name)
    assert cli.main(["import", str(workspace / name), "x", *options]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error and "MEDLAB_DEBUG" not in error
    assert list((workspace / "data").iterdir()) == []


@pytest.mark.parametrize("raised, said", [
    (zipfile.BadZipFile("no"), "is truncated or not what its name says (BadZipFile: no"),
    (RecursionError("deep"), "is nested too deeply"), (MemoryError(), "does not fit into memory"),
    (KeyError("pixels"), "could not be understood (KeyError: 'pixels'"),
    (OSError(5, "Input/output error"), "cannot be read"),
    (FileNotFoundError(2, "No such file"), "is not there, or vanished while it was read"),
    (UnicodeDecodeError("utf-8", b"\xfc", 0, 1, "bad"), "holds text that is not readable"),
])
def test_what_libraries_raise_names_the_file_being_read(raised, said, workspace, monkeypatch, capsys):
    classes(workspace / "src")

    def fail(draft, source):
        path = draft.source / "a/0.png"
        drafts.words(path)
        raise raised

    monkeypatch.setitem(importers.KINDS, "folders", fail)
    monkeypatch.setattr(problems, "PACKAGE", os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    assert cli.main(["import", str(workspace / "src"), "x"]) == 2
    error = capsys.readouterr().err
    assert f"a/0.png {said}" in error and "expected" in error and "Traceback" not in error
    monkeypatch.setenv("MEDLAB_DEBUG", "1")
    cli.main(["import", str(workspace / "src"), "x"])
    assert "Traceback" in capsys.readouterr().err


def test_everything_that_is_left_out_of_a_folder_is_in_the_log(workspace, capsys):
    root = classes(workspace / "src")
    os.mkfifo(root / "a/pipe.png")
    os.symlink("/dev/null", root / "a/out.png")
    os.symlink("loop", root / "loop")
    os.symlink(root / "a", root / "again")
    os.symlink("0.png", root / "a/inside.png")
    picture(root / ".hidden/1.png")
    (root / "c/d").mkdir(parents=True)
    picture(root / "a/two\nlines.png", 7)
    os.rename(root / "a/two\nlines.png", root / "a/\x1b[31m.png")
    picture(root / "a/u.png", 8)
    os.rename(root / "a/u.png", os.fsencode(root) + b"/a/f\xfcr.png")
    data = importers.import_source(root, "toy", yes=True)
    assert len(data.cohort) == 5, "four pictures and the link to one"
    said = log(data).query("status == 'left out'").set_index("file")["reason"]
    wanted = {"a/pipe.png": "FIFO", "a/out.png": "leads out", "loop": "leads nowhere", "again": "a link to a folder",
              ".hidden": "hidden", "c/d": "empty folder", "a/\\x1b[31m.png": "control characters",
              "a/f\\xfcr.png": "not UTF-8"}
    assert set(said.index) == set(wanted) and all(words in said[name] for name, words in wanted.items())
    assert "left out 1: an empty folder" in capsys.readouterr().out
    data = importers.import_source(root, "other", pseudonyms=True, yes=True)
    assert set(log(data).query("status == 'left out'")["file"]) == {"(not named)"}
    with pytest.raises(ValueError, match="left out 1: a link that leads out"):
        (workspace / "links").mkdir()
        os.symlink("/dev/null", workspace / "links/1.png")
        importers.import_source(workspace / "links", "toy2")


def test_listing_is_sorted_by_folder_and_holds_files_only(workspace):
    for name in ("b.png", "a/2.png", "a/1.png", "a-1/1.png"):
        picture(workspace / "src" / name)
    assert drafts.listing(workspace / "src") == ["a/1.png", "a/2.png", "a-1/1.png", "b.png"]


def test_a_folder_that_may_not_be_opened(workspace, monkeypatch):
    root, scandir = classes(workspace / "src"), os.scandir

    def refuse(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert drafts.left_out(root) == [("b", "a folder that cannot be opened (Permission denied)")]


def test_members_of_an_npz_are_read_from_their_headers(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3)), y=np.array(["a", "b"]))
    bomb(tmp_path / "a.npz", "z")
    assert formats.members(tmp_path / "a.npz") == {"x": (2, 3), "y": (2,), "z": (60_000, 100_000)}
    assert formats.member(tmp_path / "a.npz", "y").tolist() == ["a", "b"]
    with pytest.raises(formats.BadImage, match="no member 'q'; found x, y, z"):
        formats.member(tmp_path / "a.npz", "q")


@pytest.mark.parametrize("files, said", [
    ({"cohort.csv": "patient_id,label\na,\nb,\n"}, "none of 2 rows has one"),
    ({"import_log.csv": "a,b\n1,2\n"}, "2 rows of 2 patients"),
    ({"truth.csv": ""}, "truth.csv: not readable"),
    ({"card.yaml": "classes: 5\n"}, "classes is '5', expected a list"),
    ({"card.yaml": "title: " + "[" * 3000}, "brackets or indents are more than 50 deep"),
    ({"boxes.csv": "image,x_min,y_min,x_max,y_max\n1.png,a,2,3,4\n",
      "cohort.csv": "patient_id,image\na,1.png\n"}, "column 'x_min' holds 'a'"),
])
def test_check_of_a_dataset_broken_by_hand(files, said, workspace, capsys):
    folder = workspace / "data" / "toy"
    picture(folder / "1.png")
    for name, words in ({"card.yaml": "title: a\n", "cohort.csv": "patient_id,label\na,x\nb,y\n"} | files).items():
        write(folder / name, words)
    assert cli.main(["check", "toy"]) in (0, 1)
    printed = capsys.readouterr()
    assert said in printed.out + printed.err and "Traceback" not in printed.out + printed.err


@pytest.mark.parametrize("words, said", [
    (b"dataset: f\xfcr\n", "is not UTF-8"), (b"seed: 1" + b"0" * 5000, "params.yaml"),
    (b"dataset: " + b"[" * 3000, "more than 50 deep"), (b"- x\n", "expected lines 'name: value'"),
    (b"dataset:\n - &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b" - &%c [%s]\n" % (98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(9)), "a part repeats another"),
])
def test_parameters_of_a_run(words, said, workspace, capsys):
    (workspace / "reports" / "r").mkdir()
    (workspace / "reports/r/params.yaml").write_bytes(words)
    assert cli.main(["run", "r"]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error and "MEDLAB_DEBUG" not in error and len(error) < 2500


def test_help_lists_every_option_of_every_kind_once_described(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["import", "--help"])
    printed = capsys.readouterr().out
    assert end.value.code == 0
    for kind, function in importers.KINDS.items():
        own = manual.own_options(function)
        assert all(own.values()), f"{kind}: {[n for n, v in own.items() if not v]} without description"
        assert f"\n  {kind} " in printed
        assert all(f"--{name.replace('_', '-')}" in printed for name in own)
    assert all(f"  --{name.replace('_', '-')}" in printed for name in arguments.COMMON)
    assert "(?P<patient_id>" in printed and max(map(len, printed.splitlines())) <= 120


def test_datasets_named_by_a_library_error_are_not_ours():
    try:
        int("x")
    except ValueError as error:
        assert not problems.is_ours(error)
    with pytest.raises(ValueError) as ours:
        datasets.folder_of("../x")
    assert problems.is_ours(ours.value)
    assert storage.inert("a\udcfcb\x1b") == "a\\xfcb\\x1b"
