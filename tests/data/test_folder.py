"""Folders of pictures: classes, parts, statistics, what is left out, and what is said of it."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicnn.data as data
from minicnn.data import folder_scan, survey
from minicnn.data.folder_scan import Entry, divide
from minicnn.errors import DataError
from tests.data.pictures_made import encoded, folder, noise


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return folder(tmp_path / "pets", {"dog": 12, "cat": 9, "emu": 5})


def files(root: Path, **options: object) -> dict[str, set[str]]:
    return {part: set(data.load(root, part, size=8, **options).files) for part in ("train", "val", "test")}


def test_every_picture_is_in_one_part(pets: Path) -> None:
    parts = files(pets)
    assert sum(map(len, parts.values())) == 26 == len(set.union(*parts.values()))
    train = data.load(str(pets), size=8)
    assert train.classes == ("cat", "dog", "emu") and train.shape == (3, 8, 8)
    assert [file.split("/")[0] for file in train.files] == [train.classes[label] for label in train.labels]
    for part in parts:
        assert set(data.load(pets, part, size=8).labels) == {0, 1, 2}


def test_pictures_are_what_the_files_hold(pets: Path) -> None:
    train, val = data.load(pets, size=12), data.load(pets, "val", size=12)
    raw = np.stack([np.asarray(Image.open(pets / file))[:, 2:14] for file in train.files]).transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(train.denormalise(train.images), raw, atol=1e-6)
    np.testing.assert_allclose(train.mean.ravel(), raw.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(train.std.ravel(), raw.std(axis=(0, 2, 3)), rtol=1e-6)
    assert np.array_equal(val.mean, train.mean) and np.array_equal(val.std, train.std)
    images, labels = train.batch(np.array([4, 0]))
    np.testing.assert_array_equal(images, train.images[[4, 0]])
    np.testing.assert_array_equal(labels, train.labels[[4, 0]])


def test_more_pictures_move_no_other(pets: Path) -> None:
    before = files(pets)
    for i in range(100, 140):
        shutil.copy(pets / "dog/000.png", pets / f"dog/{i}.png")
    after = files(pets)
    assert all(before[part] <= after[part] for part in before)
    shares = np.array([len(after[part]) - len(before[part]) for part in ("train", "val", "test")]) / 40
    assert np.abs(shares - [0.6, 0.2, 0.2]).max() < 0.2


def test_parts_keep_their_shares_and_small_classes_lose_none() -> None:
    many = [Entry(f"a/{i}.png", 0) for i in range(5000)] + [Entry(f"b/{i}.png", 1) for i in range(3)]
    parts = divide(many, folder_scan.PARTS, ("a", "b"))
    counts = [sum(entry.label == 0 for entry in parts[part]) for part in folder_scan.PARTS]
    assert np.abs(np.array(counts) / 5000 - [0.6, 0.2, 0.2]).max() < 0.02
    assert [sum(entry.label == 1 for entry in parts[part]) for part in folder_scan.PARTS] == [1, 1, 1]
    for count in range(3, 30):  # of every small class, wherever its names fall
        small = divide([Entry(f"x{count}/{i}.png", 0) for i in range(count)], folder_scan.PARTS, (f"x{count}",))
        assert all(small.values()) and sum(map(len, small.values())) == count


def test_a_place_is_fixed_for_ever() -> None:
    # written down once: another value would move pictures from test to training
    assert folder_scan.place("cat", "cat/1.png") == pytest.approx(0.41497065, abs=1e-7)
    assert folder_scan.place("cat", "train/cat/1.png") == folder_scan.place("cat", "cat/1.png")


def test_folders_of_parts(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for part, count in (("train", 10), ("Validation", 4), ("test", 3)):
        folder(root / part, {"a": count, "b": count})
    parts = files(root)
    assert {part: len(found) for part, found in parts.items()} == {"train": 20, "val": 8, "test": 6}
    assert all(file.startswith("Validation/") for file in parts["val"])


@pytest.mark.parametrize(
    ("there", "expected", "note"),
    [
        (("train", "test"), (16, 4, 12), "there is no val folder: taken from the training pictures"),
        (("train", "val"), (16, 12, 4), "there is no test folder: taken"),
        (("train",), (12, 4, 4), "there is no val and no test folder: taken"),
    ],
)
def test_parts_that_are_missing_are_cut_out_of_training(
    tmp_path: Path, there: tuple[str, ...], expected: tuple[int, ...], note: str
) -> None:
    for part in there:
        folder(tmp_path / "set" / part, dict.fromkeys("ab", 10 if part == "train" else 6))
    parts = files(tmp_path / "set")
    assert np.abs(np.subtract([len(parts[part]) for part in ("train", "val", "test")], expected)).max() <= 4
    assert sum(map(len, parts.values())) == sum(expected) and not parts["train"] & (parts["val"] | parts["test"])
    assert any(note in line for line in data.load(tmp_path / "set", size=8).notes)


def test_a_class_called_train(tmp_path: Path) -> None:
    root = folder(tmp_path / "vehicles", {"train": 5, "tram": 5})
    assert data.load(root, size=8).classes == ("train", "tram")


@pytest.mark.parametrize(("channels", "expected"), [(None, 1), (3, 3), (1, 1)])
def test_grey_pictures_have_one_channel(tmp_path: Path, channels: int | None, expected: int) -> None:
    root = folder(tmp_path / "grey", {"a": 4, "b": 4}, channels=1)
    train = data.load(root, size=8, channels=channels)
    assert train.shape[0] == expected and len(set(train.mean.ravel())) == 1


def test_one_coloured_picture_makes_three_channels(tmp_path: Path) -> None:
    root = folder(tmp_path / "mixed", {"a": 6, "b": 6}, channels=1)
    (root / "a/colour.png").write_bytes(encoded(noise()))
    train = data.load(root, size=8)
    raw = train.denormalise(train.images)
    np.testing.assert_allclose(train.mean.ravel(), raw.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(train.std.ravel(), raw.std(axis=(0, 2, 3)), rtol=1e-5)
    assert train.shape[0] == 3


def test_constant_pictures_have_a_deviation(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "flat" / name).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "flat" / name / f"{i}.png").write_bytes(encoded(np.full((8, 8), 9, np.uint8)))
    train = data.load(tmp_path / "flat", size=8)
    assert np.abs(train.images).max() < 1e-6 and train.std.item() == pytest.approx(1 / 255)


def test_pictures_are_looked_at_once(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    look = survey._look
    monkeypatch.setattr(survey, "_look", lambda path, *rest: looked.append(path.name) or look(path, *rest))
    first = data.load(pets, size=8)
    assert len(looked) == 26
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(data.load(pets, part, size=8).mean, first.mean)
    assert len(looked) == 26
    (pets / "cat/new.png").write_bytes(encoded(noise()))
    (pets / "cat/001.png").write_bytes(b"no picture any more")
    assert data.load(pets, size=8).skipped[0][0] == "cat/001.png" and sorted(looked[26:]) == ["001.png", "new.png"]
    data.load(pets, size=9)
    assert len(looked) == 28 + 27


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"cat/000.png": 3}', b'{"cat/000.png": ["x", "y", "z", 1]}', b"\xff\xfe", b"[" * 9999],
)
def test_a_damaged_memory_is_written_again(pets: Path, cache: Path, damage: bytes) -> None:
    mean = data.load(pets, size=8).mean
    (memory,) = (cache / "folders").iterdir()
    whole = memory.read_bytes()
    memory.write_bytes(damage)
    np.testing.assert_array_equal(data.load(pets, size=8).mean, mean)
    assert memory.read_bytes() == whole and len(list((cache / "folders").iterdir())) == 1


def test_many_pictures_are_announced(
    pets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(survey, "MANY", 26)
    data.load(pets, size=8)
    assert capsys.readouterr().err.startswith("minicnn: looking at 26 pictures once; remembered in ")
    data.load(pets, size=8)
    assert capsys.readouterr().err == ""


def test_no_memory_is_no_obstacle(pets: Path, cache: Path) -> None:
    cache.write_bytes(b"a file where the folder should be")
    assert len(data.load(pets, size=8)) == len(data.load(pets, size=8)) > 0


def test_nothing_is_written_beside_the_pictures(pets: Path) -> None:
    before = sorted(pets.rglob("*"))
    data.load(pets, size=8)
    assert sorted(pets.rglob("*")) == before and sorted(p.name for p in pets.parent.iterdir()) == ["cache", "pets"]


def test_bad_pictures_are_left_out_and_told(pets: Path) -> None:
    for i, content in enumerate([b"", b"text", encoded(noise())[:100], encoded(noise(), "JPEG")[:200]]):
        (pets / f"dog/bad{i}.png").write_bytes(content)
    (pets / "dog/notes.txt").write_text("not a picture", encoding="utf-8")
    (pets / "dog/.hidden.png").write_bytes(b"")
    train = data.load(pets, size=8)
    assert [file for file, _ in train.skipped] == [f"dog/bad{i}.png" for i in range(4)]
    assert not any("bad" in file or "hidden" in file for part in files(pets).values() for file in part)
    told = "\n".join(train.notes)
    assert "left out: 4 of 30 pictures cannot be read; the first 3: dog/bad0.png: it is empty; dog/bad1.png: " in told
    assert "1 other file is not read: dog/notes.txt" in told and "classes (training/validation/test): cat " in told
    assert "mean 0." in told
    with pytest.raises(DataError, match=r"4 of 30 pictures cannot be read; the first 3: dog/bad0\.png: it is empty"):
        data.load(pets, size=8, on_error="raise")


def test_many_classes_are_summed_up(tmp_path: Path) -> None:
    root = folder(tmp_path / "many", {f"c{i}": 3 + i for i in range(9)})
    assert (
        "9 classes, smallest and largest (training/validation/test): c0 1/1/1, c8 " in data.load(root, size=8).notes[0]
    )


def test_links_stay_inside(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(noise()))
    (tmp_path / "elsewhere").mkdir()
    (pets / "dog/out.png").symlink_to(tmp_path / "secret.png")
    (pets / "dog/in.png").symlink_to(pets / "dog/001.png")
    (pets / "dog/lost.png").symlink_to(pets / "dog/nowhere.png")
    (pets / "dog/loop.png").symlink_to(pets / "dog/loop.png")
    (pets / "dog/folder").symlink_to(tmp_path)
    (pets / "linked").symlink_to(tmp_path / "elsewhere")  # not a class
    train = data.load(pets, size=8)
    reasons = dict(train.skipped)
    assert set(reasons) == {"dog/out.png", "dog/lost.png", "dog/loop.png", "dog/folder"}
    assert (
        reasons["dog/out.png"] == "a link that leads out of the folder"
        and "cannot be reached" in reasons["dog/lost.png"]
    )
    assert any("dog/in.png" in part for part in files(pets).values()) and "linked" not in train.classes
    (tmp_path / "pets too").symlink_to(pets)  # the folder itself may be a link
    assert len(data.load(tmp_path / "pets too", size=8)) == len(train)


def test_pipes_are_not_opened(pets: Path) -> None:
    os.mkfifo(pets / "dog/pipe.png")
    assert data.load(pets, size=8).skipped == (("dog/pipe.png", "a device, pipe or socket"),)


def test_folders_below_a_class_are_read(pets: Path) -> None:
    (pets / "dog/more/even more").mkdir(parents=True)
    (pets / "dog/more/even more/1.JPG").write_bytes(encoded(noise(), "JPEG"))
    assert any("dog/more/even more/1.JPG" in part for part in files(pets).values())


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "has no folder of pictures; expected two or more folders, each named after its class"),
        ({"cat": 5}, r"has one class, 'cat'; expected two or more$"),
        ({"cat/a": 5, "cat/b": 5}, r"has one class, 'cat'; expected two or more; did you mean .*set/cat\?"),
        ({"cat": 5, "dog": 0}, "the class 'dog' is empty: it has no pictures"),
        ({"cat": 5, "dog": 2}, "the class 'dog' has 2 readable pictures, expected at least 3: one each for train, val"),
        ({"cat": 5, "dog": 1}, "the class 'dog' has 1 readable picture, expected at least 3"),
        ({"train/a": 5, "train/b": 5, "test/c": 2}, r"test/c is a class that train/ lacks"),
        ({"train/a": 5, "train/b": 0, "test/b": 2, "val/b": 2}, "the class 'b' is empty"),
        ({"train/a": 5, "train/b": 5, "val/a": 0}, r"the folder val/ has no readable pictures"),
        ({"train/a": 5, "test/a": 5}, r"set/train has one class, 'a'"),
    ],
)
def test_folders_that_will_not_do(tmp_path: Path, counts: dict[str, int], message: str) -> None:
    (tmp_path / "set").mkdir()
    folder(tmp_path / "set", counts)
    with pytest.raises(DataError, match=message):
        data.load(tmp_path / "set", size=8)


def test_pictures_without_classes(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(encoded(noise()))
    with pytest.raises(DataError, match="has pictures, but no folder of a class"):
        data.load(tmp_path, size=8)


def test_a_class_nobody_can_read(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {"cat": 5, "dog": 0})
    for i in range(5):
        (root / f"dog/{i}.png").write_bytes(b"text")
    with pytest.raises(
        DataError, match=r"'dog' is empty: no picture in it can be read: the first 3: dog/0\.png: it is not"
    ):
        data.load(root, size=8)


def test_classes_that_differ_in_case_only(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {"Cat": 4, "cat": 4, "dog": 4})
    assert "the classes 'Cat' and 'cat' differ in upper and lower case only" in data.load(root, size=8).notes


def test_part_without_a_class_is_noted(tmp_path: Path) -> None:
    folder(tmp_path / "set/train", {"a": 6, "b": 6})
    folder(tmp_path / "set/test", {"a": 3})
    folder(tmp_path / "set/old", {"a": 3})
    notes = data.load(tmp_path / "set", size=8).notes
    assert "no test pictures of b" in notes and "folders beside the parts are not read: old" in notes


def test_a_picture_that_vanishes_is_named(pets: Path) -> None:
    train = data.load(pets, size=8)
    (pets / train.files[3]).unlink()
    with pytest.raises(DataError, match=f"{train.files[3]}: there is no such file"):
        list(data.DataLoader(train, 4, workers=2))


def test_paths_and_names(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pets.parent)
    assert len(data.load("pets", size=8)) == len(data.load("./pets", size=8)) == len(data.load(Path("pets"), size=8))
    shutil.copytree(pets, "digits")
    assert data.load("digits").shape == (1, 8, 8) and data.load("./digits", size=8).shape == (3, 8, 8)
    with pytest.raises(DataError, match=r"the folder 'pest' does not exist, .*; did you mean 'pets'\?"):
        data.load(Path("pest"))
    with pytest.raises(DataError, match=r"no dataset and no folder 'petz'; .*did you mean 'pets'\?"):
        data.load("petz")
    with pytest.raises(DataError, match="a folder has no option 'sise'; it takes size, channels, on_error"):
        data.load("pets", sise=3)
    Path("pets.zip").touch()
    with pytest.raises(
        DataError, match=r"'pets\.zip' is a file, expected a folder.*; an archive must be unpacked first"
    ):
        data.load("pets.zip")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 2}, r"channels must be 1 \(grey\), 3 \(colour\) or None"),
        ({"on_error": "ignore"}, "on_error must be 'skip' or 'raise', got 'ignore'"),
        ({"size": 0}, "size must be a whole number of pixels from 1 to 4096, got 0"),
        ({"split": "tests"}, "there is no split 'tests'"),
    ],
)
def test_options_are_checked(pets: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        data.load(pets, **options)
