import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageCms
from pydantic import ValidationError

from rsa.errors import UserError
from rsa.inputs.stimuli import Stimuli, condition_table, read_image
from rsa.pipeline.config import Study
from rsa.pipeline.plan import Plan


def picture(path: Path, colour=(200, 100, 50), size=(4, 3), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def table(path: Path, text: str) -> Stimuli:
    path.write_text(text, encoding="utf-8")
    return Stimuli(table=str(path))


# ------------------------------------------------------------------------------------ tables and folders


@pytest.mark.parametrize(("given", "came"), [({}, "neither"), ({"table": "a.tsv", "folder": "b"}, "both")])
def test_exactly_one_source(given, came):
    with pytest.raises(ValidationError, match=f"either a `table` or a `folder`, and {came} is given"):
        Stimuli(**given)


def test_relative_paths_start_at_data_root_in_a_configuration():
    stimuli = Stimuli.model_validate({"table": "stimuli.tsv"}, context={"data_root": "/data"})
    assert stimuli.table == "/data/stimuli.tsv"


def test_table_keeps_order_text_and_further_columns(tmp_path):
    picture(tmp_path / "images" / "a.png")
    stimuli = table(
        tmp_path / "stimuli.tsv",
        "animate\tcondition\tfile\n1\timg10\timages/a.png\n0\t01\timages/b.png\n1\timg10\timages/c.png\n",
    )
    frame = stimuli.load()
    assert list(frame) == ["condition", "file", "animate"]
    assert list(frame["condition"]) == ["img10", "01", "img10"]
    assert list(frame["file"]) == [str(tmp_path / "images" / name) for name in ("a.png", "b.png", "c.png")]
    assert stimuli.conditions() == ["img10", "01"]
    assert stimuli.files() == [
        tmp_path / "stimuli.tsv",
        *(tmp_path / "images" / n for n in ("a.png", "b.png", "c.png")),
    ]


def test_stimuli_that_are_read_once_stay_as_they_were(tmp_path):
    """In the checks of a study, which asks for them again for each subject."""
    read_each_time = table(tmp_path / "stimuli.tsv", "condition\tfile\nb\t1.png\na\t2.png\n")
    expected, once = read_each_time.load(), Plan(Study(study="x", stimuli=read_each_time)).study.stimuli
    assert once is not None
    assert once.model_dump_json(exclude_unset=True) == read_each_time.model_dump_json(exclude_unset=True)
    once.load().insert(0, "by a caller", 1)
    (tmp_path / "stimuli.tsv").unlink()
    pd.testing.assert_frame_equal(once.load(), expected)
    assert (once.conditions(), once.files()) == (["b", "a"], [tmp_path / n for n in ("stimuli.tsv", "1.png", "2.png")])
    with pytest.raises(UserError, match="There is no table"):
        read_each_time.load()


def test_table_with_other_column_names_and_an_absolute_path(tmp_path):
    elsewhere = picture(tmp_path / "elsewhere" / "a.png")
    path = tmp_path / "stimuli.csv"
    path.write_text(f"stim,picture\n1,{elsewhere}\n", encoding="utf-8")
    frame = Stimuli(table=str(path), condition_column="stim", file_column="picture").load()
    assert frame.to_dict("list") == {"condition": ["1"], "file": [str(elsewhere)]}


def test_table_without_pictures_is_fine(tmp_path):
    stimuli = table(tmp_path / "stimuli.tsv", "condition\tanimate\nface\t1\nhouse\t0\n")
    assert list(stimuli.load()) == ["condition", "animate"]
    assert stimuli.files() == [tmp_path / "stimuli.tsv"]
    assert stimuli.problems() == []


def test_a_file_column_that_is_asked_for_must_be_there(tmp_path):
    path = tmp_path / "stimuli.tsv"
    path.write_text("condition\tpicture\na\ta.png\n", encoding="utf-8")
    assert "no column 'image'" in Stimuli(table=str(path), file_column="image").problems()[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\tfile\na\ta.png\n", "has no column 'condition'; its columns are 'name', 'file'"),
        ("condition\tfile\na\ta.png\nb\t\n", "no value in column 'file' on line 3"),
        ("condition\tfile\n", "has a header but no rows"),
    ],
)
def test_a_bad_table_is_a_problem_and_an_error(tmp_path, text, message):
    stimuli = table(tmp_path / "stimuli.tsv", text)
    assert len(stimuli.problems()) == 1
    assert message in stimuli.problems()[0]
    with pytest.raises(UserError, match=message):
        stimuli.load()


def test_two_columns_that_claim_to_be_the_condition(tmp_path):
    path = tmp_path / "stimuli.tsv"
    path.write_text("condition\tstim\na\tb\n", encoding="utf-8")
    with pytest.raises(UserError, match="column 'condition' beside 'stim', which is to become it; rename one"):
        Stimuli(table=str(path), condition_column="stim").load()


def test_folder_takes_images_of_any_case_and_nothing_else(tmp_path):
    for name in ("b.JPG", "a.png", "c.tiff", "img10.webp", "img2.gif", "d.bmp", "e.jpeg", "f.tif"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._a.png").write_text("what macOS leaves behind")
    stimuli = Stimuli(folder=str(tmp_path))
    assert sorted(stimuli.conditions()) == ["a", "b", "c", "d", "e", "f", "img10", "img2"]
    assert [Path(name).stem for name in stimuli.load()["file"]] == stimuli.conditions()
    assert stimuli.files() == [Path(name) for name in stimuli.load()["file"]]
    assert stimuli.problems() == []


def test_folder_problems(tmp_path):
    assert Stimuli(folder=str(tmp_path / "no")).problems() == [f"There is no folder {tmp_path / 'no'}."]
    assert "has no images (.png, .jpg" in Stimuli(folder=str(tmp_path)).problems()[0]
    picture(tmp_path / "cat.png")
    picture(tmp_path / "cat.jpg")
    assert "share a name, so a condition: 'cat.jpg', 'cat.png'." in Stimuli(folder=str(tmp_path)).problems()[0]


def test_problems_name_missing_and_damaged_images_once(tmp_path):
    assert Stimuli(table=str(tmp_path / "no.tsv")).problems() == [f"There is no table {tmp_path / 'no.tsv'}."]
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    whole = picture(tmp_path / "c.png", size=(60, 60)).read_bytes()
    broken = bytearray(whole)
    broken[40] ^= 255  # in the header's or data's checksummed part
    (tmp_path / "c.png").write_bytes(bytes(broken))
    text = "condition\tfile\ttrial\n" + "".join(f"x\t{name}.png\t{i}\n" for i, name in enumerate("abcdd"))
    missing, damaged = table(tmp_path / "stimuli.tsv", text).problems()
    assert missing == f"1 of 4 image files do not exist: '{tmp_path / 'd.png'}'."
    assert damaged == (
        f"2 of 4 files are not readable images: '{tmp_path / 'b.png'}', '{tmp_path / 'c.png'}'. The first of them: "
        f"cannot identify image file '{tmp_path / 'b.png'}'."
    )


def test_condition_table_takes_the_first_row_of_each():
    frame = pd.DataFrame({"condition": ["b", "a", "b"], "file": list("xyz"), "size": [1, 2, 3]})
    assert condition_table(frame).to_dict("list") == {"condition": ["b", "a"], "size": [1, 2]}
    assert condition_table(frame[["condition"]]).to_dict("list") == {"condition": ["b", "a"]}


def test_real_stimuli(data):
    stimuli = Stimuli(folder=str(data / "cichy92" / "stimuli"))
    assert len(stimuli.conditions()) == 92
    assert stimuli.problems() == []


def test_importing_costs_no_torch():
    code = "import sys, rsa.inputs.stimuli, rsa.models, rsa.models.extraction; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


# ------------------------------------------------------------------------------------------- pictures


def pixels(path: Path) -> np.ndarray:
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def mode_of(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


@pytest.fixture
def grey(rng) -> np.ndarray:
    return rng.integers(0, 256, (5, 7), dtype=np.uint8)


@pytest.fixture
def colour(rng) -> np.ndarray:
    return rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_rgb(tmp_path, colour):
    Image.fromarray(colour).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), colour)
    Image.new("RGB", (16, 16), (200, 100, 50)).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(pixels(tmp_path / "a.jpg") - [200, 100, 50]).max() <= 3


def test_greyscale(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), np.repeat(grey[..., None], 3, axis=2))


def test_one_bit(tmp_path, grey):
    Image.fromarray(grey > 100).save(tmp_path / "a.png")
    assert mode_of(tmp_path / "a.png") == "1"
    np.testing.assert_array_equal(pixels(tmp_path / "a.png")[..., 1], 255 * (grey > 100))


def test_palette_and_its_transparent_colour_on_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png", transparency=1)
    assert pixels(tmp_path / "a.png").tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert pixels(tmp_path / "b.png").tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_transparency_on_white(tmp_path):
    Image.fromarray(np.uint8([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]])).save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").tolist() == [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]
    Image.fromarray(np.uint8([[[10, 255], [10, 0]]])).save(tmp_path / "b.png")
    assert pixels(tmp_path / "b.png").tolist() == [[[10, 10, 10], [255, 255, 255]]]


def test_cmyk(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert pixels(tmp_path / "a.tif")[0, 0].tolist() == [255, 0, 0]
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(pixels(tmp_path / "a.jpg") - [255, 0, 0]).max() <= 4


@pytest.mark.parametrize(("dtype", "suffix", "mode"), [(np.uint16, "png", "I;16"), (np.int32, "tif", "I")])
def test_16_bits_are_scaled_and_not_clipped(tmp_path, dtype, suffix, mode):
    values = np.array([[0, 257, 32768, 65535], [128, 129, 1000, 40000]])
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(values.astype(dtype)).save(path)
    assert mode_of(path) == mode
    np.testing.assert_array_equal(pixels(path)[..., 0], [[0, 1, 128, 255], [0, 1, 4, 156]])


def test_values_of_neither_8_nor_16_bits(tmp_path):
    Image.fromarray(np.array([[0, 70000]], dtype=np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif is not a readable image \(its values range from 0 to 70000, expected"):
        read_image(tmp_path / "a.tif")
    Image.fromarray(np.array([[0, 0.5]], dtype=np.float32)).save(tmp_path / "b.tif")
    with pytest.raises(UserError, match="its values are floating-point numbers, expected are 8 or 16 bits"):
        read_image(tmp_path / "b.tif")
    Image.fromarray(np.array([[0, 250]], dtype=np.uint16)).save(tmp_path / "c.png")  # 8 bits in a file of 16
    with pytest.raises(UserError, match="its values are up to 250 in a file of 16 bits or more, so it is black"):
        read_image(tmp_path / "c.png")
    (problem,) = Stimuli(folder=str(tmp_path)).problems()
    assert problem.startswith("3 of 3 files are not readable images: ")


def test_lab(tmp_path):
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(*profiles, "RGB", "LAB")
    ImageCms.applyTransform(Image.new("RGB", (4, 4), (200, 100, 50)), to_lab).save(tmp_path / "a.tif")
    assert mode_of(tmp_path / "a.tif") == "LAB"
    assert np.abs(pixels(tmp_path / "a.tif")[0, 0] - [200.0, 100, 50]).max() <= 4


def test_exif_orientation_is_applied(tmp_path, colour):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be rotated by 90 degrees clockwise
    Image.fromarray(colour).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), np.rot90(colour, -1))


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert pixels(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", ["png", "jpeg", "bmp", "gif", "tiff", "webp"])
def test_a_truncated_picture_is_named(tmp_path, rng, suffix):
    whole = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, format=suffix)
    path = tmp_path / f"half.{suffix}"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(
        UserError, match=rf"half\.{suffix} is not a readable image \(.+\); replace it by an intact copy"
    ):
        read_image(path)
    (problem,) = Stimuli(folder=str(tmp_path)).problems()
    assert problem.startswith(f"1 of 1 files are not readable images: '{path}'. The first of them: ")
    path.write_bytes(whole.getvalue()[:-400])  # the header is whole, the end is not
    (problem,) = Stimuli(folder=str(tmp_path)).problems()
    with pytest.raises(UserError, match="is not a readable image"):
        read_image(path)
    path.write_bytes(whole.getvalue())
    assert Stimuli(folder=str(tmp_path)).problems() == []


def test_what_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(UserError, match=r"a\.png is not a readable image"):
        read_image(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"There is no image .*b\.png\."):
        read_image(tmp_path / "b.png")


# --------------------------------------------------------------------------------- patterns and subsets


def test_a_pattern_finds_conditions_in_the_names_of_files(tmp_path):
    names = ["shared0001_nsd02951.png", "shared0002_nsd02991.png", "shared0003_nsd00050.png"]
    for name in names:
        picture(tmp_path / name)
    stimuli = Stimuli(folder=str(tmp_path), condition_pattern="nsd0*([0-9]+)")
    assert stimuli.conditions() == ["2951", "2991", "50"]
    assert stimuli.problems() == []
    assert stimuli.load()["file"].tolist() == [str(tmp_path / name) for name in names]
    picture(tmp_path / "copy_nsd02951.jpg")
    assert list(stimuli.load()["condition"]) == ["2951", "2951", "2991", "50"], "two images of one condition"
    picture(tmp_path / "other.png")
    (problem,) = stimuli.problems()
    assert problem == "'nsd0*([0-9]+)' finds no condition in 'other.png'; change stimuli.condition_pattern."


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"folder": "a", "condition_pattern": "nsd"}, "'nsd' has 0 groups; put one pair of parentheses around"),
        ({"folder": "a", "condition_pattern": "(n)(sd)"}, "has 2 groups"),
        ({"folder": "a", "condition_pattern": "(nsd"}, "'(nsd' is no regular expression"),
        ({"table": "a.tsv", "condition_pattern": "(nsd)"}, "condition_pattern finds conditions in the file names"),
        ({"folder": "a", "n_conditions": 2}, "greater than or equal to 3"),
    ],
)
def test_patterns_and_subsets_that_are_refused(given, message):
    with pytest.raises(ValidationError) as raised:
        Stimuli(**given)
    assert message in str(raised.value)


def test_the_first_conditions_of_a_table_with_all_their_images(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("condition\tfile\nb\t1.png\na\t2.png\nb\t3.png\nc\t4.png\nd\t5.png\nc\t6.png\n")
    stimuli = Stimuli(table=str(path), n_conditions=3)
    assert stimuli.conditions() == ["b", "a", "c"]
    assert [Path(name).stem for name in stimuli.load()["file"]] == ["1", "2", "3", "4", "6"]
    assert len(stimuli.files()) == 6
    (problem,) = Stimuli(table=str(path), n_conditions=5).problems()
    assert problem == "stimuli.n_conditions is 5, and there are only 4; make it smaller."
