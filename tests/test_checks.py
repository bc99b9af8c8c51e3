"""What is found before any long work starts, on files that a lab could have."""

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.spatial.distance import squareform

from rsa.analyses import Partition
from rsa.core import RDMs
from rsa.errors import Problems
from rsa.files import io
from rsa.files.records import copies
from rsa.models import Torchvision
from rsa.pipeline import checks, cli
from rsa.pipeline.config import load_study
from rsa.pipeline.plan import Plan

CONDITIONS = ["img1", "img2", "img10", "img11"]
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a complete small study on disk: 4 pictures, 2 subjects x 2 runs of betas, a mask, an atlas."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("pictures").mkdir()
    for name in CONDITIONS:
        Image.new("RGB", (8, 8), (10, 20, 30)).save(f"pictures/{name}.png")
    for subject in ("01", "02"):
        for run in ("1", "2"):
            write_betas(subject, run, rng.standard_normal((6, 6, 6, 4)))
    nib.save(nib.Nifti1Image(np.ones((6, 6, 6), np.uint8), AFFINE), "mask.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((6, 6, 6), np.uint8), AFFINE), "atlas.nii.gz")
    return tmp_path


def write_betas(
    subject: str, run: str, values: np.ndarray, conditions: list[str] = CONDITIONS, affine: np.ndarray = AFFINE
) -> None:
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), f"sub-{subject}_run-{run}.nii.gz")
    pd.DataFrame({"condition": conditions}).to_csv(f"sub-{subject}_run-{run}.tsv", sep="\t", index=False)


PIXELS = {"kind": "pixels", "name": "pixels"}
EPOCHS = {"kind": "epochs", "subjects": ["01", "02"], "file": "sub-{subject}-epo.fif"}
MOVIE: dict[str, Any] = {
    "kind": "movie",
    "subjects": ["01", "02"],
    "file": "movies.npz",
    "times": {"start": 0, "step": 10, "unit": "ms"},
    "condition_order": "order.txt",
}
SIMULATED = {
    "kind": "maps",
    "subjects": ["01", "02"],
    "runs": ["1", "2"],
    "images": "{results}/simulated/sub-{subject}_run-{run}.nii.gz",
    "table": "{results}/simulated/sub-{subject}_run-{run}.tsv",
    "mask": "{results}/simulated/sub-{subject}_mask.nii.gz",
}
NO_BRAIN: dict[str, Any] = {"brain": None, "searchlight": None}


def write_movies(conditions: list[str] = CONDITIONS) -> None:
    """Write the RDMs of two subjects at three times."""
    half = np.triu(np.random.default_rng(1).random((2, 3, len(conditions), len(conditions))), 1)
    np.savez("movies.npz", half + half.swapaxes(2, 3))
    Path("order.txt").write_text("\n".join(conditions) + "\n")


def study(**changes: Any) -> Any:
    raw: dict[str, Any] = {
        "study": "lab",
        "stimuli": {"folder": "pictures"},
        "models": [{"architecture": "alexnet", "weights": "untrained", "layers": ["features.1", "classifier.6"]}],
        "brain": {
            "kind": "maps",
            "subjects": ["01", "02"],
            "runs": ["1", "2"],
            "images": "sub-{subject}_run-{run}.nii.gz",
            "table": "sub-{subject}_run-{run}.tsv",
            "mask": "mask.nii.gz",
        },
        "searchlight": {"radius_mm": 6, "min_voxels": 5},
    }
    for place, value in changes.items():
        section, _, key = place.rpartition("__")
        (raw[section] if section else raw)[key] = value
    return load_study({key: value for key, value in raw.items() if value is not None})


def test_a_sound_study_has_no_problems(lab: Path) -> None:
    assert checks.problems_of(study()) == []
    text = checks.summary(study())
    assert "conditions  4" in text
    assert "'alexnet features.1', 'alexnet classifier.6'" in text


def test_weights_of_a_network_are_checked_once(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    problems = Torchvision.problems
    monkeypatch.setattr(Torchvision, "problems", lambda model: [checked.append(model.label), *problems(model)][1:])
    assert checks.problems_of(study()) == []
    assert checked == ["alexnet"]


def test_categories_and_layers_of_codes_that_are_named_are_there(lab: Path) -> None:
    assert checks.problems_of(study(**NO_BRAIN, units={})) == []
    wrong = {"codes": {"categories": "kind"}, "layers": "conv9"}
    layers, categories = checks.problems_of(study(**NO_BRAIN, units=wrong))
    assert layers.startswith("`units.layers`: no layer of 'alexnet' is called 'conv9' and has one output; ")
    assert categories.startswith("`units.codes.categories` is 'kind', and the stimuli have no such column; ")


def test_surfaces_that_are_asked_for_need_maps_in_mni152(lab: Path) -> None:
    assert checks.problems_of(study(brain__space="T1w", surfaces=None)) == []
    assert checks.problems_of(study(brain__space="MNI152NLin6Asym", surfaces={})) == []
    (line,) = checks.problems_of(study(brain__space="T1w", surfaces={"mesh": "fsaverage5"}))
    assert line == (
        "`surfaces` are made of maps of a `searchlight` in a space whose label starts with MNI152, and here there are "
        "maps in 'T1w'; bring them there by `template`, or leave `surfaces` out."
    )
    (line,) = checks.problems_of(
        study(
            brain__space="T1w",
            searchlight=None,
            references=[PIXELS],
            regions={"spheres": {"V1": [6, 6, 6]}},
            surfaces={},
        )
    )
    assert "starts with MNI152, and here there are none; bring" in line
    assert Plan(study(brain__space="T1w")).surfaces is None
    assert Plan(study(brain__space="MNI152Lin")).surfaces is not None


def test_anatomical_images_are_there_and_one_for_each_subject(lab: Path) -> None:
    image = nib.Nifti1Image(np.ones((6, 6, 6), np.uint8), AFFINE)
    nib.save(image, "sub-01_T1w.nii.gz")
    (line,) = checks.problems_of(study(anatomy="sub-{subject}_T1w.nii.gz"))
    assert line == "subject '02': anatomy: There is no image sub-02_T1w.nii.gz."
    nib.save(image, "sub-02_T1w.nii.gz")
    own = study(anatomy="sub-{subject}_T1w.nii.gz")
    assert checks.problems_of(own) == []
    assert Plan(own).anatomy("02") == [Path("sub-02_T1w.nii.gz")]
    assert Plan(own).anatomy() == []
    assert Plan(study(anatomy="sub-01_T1w.nii.gz")).anatomy() == [Path("sub-01_T1w.nii.gz")]
    assert Plan(study()).anatomy("01") == []
    nib.save(nib.Nifti1Image(np.ones((6, 6, 6, 2), np.uint8), AFFINE), "sub-02_T1w.nii.gz")
    (line,) = checks.problems_of(own)
    assert "sub-02_T1w.nii.gz has 2 volumes" in line
    with pytest.raises(Problems, match=r"unknown placeholder 'run': it takes \{subject\}"):
        study(anatomy="run-{run}.nii.gz")
    (line,) = checks.problems_of(
        study(anatomy="sub-01_T1w.nii.gz", searchlight=None, references=[PIXELS], regions={"spheres": {"V": [6, 6, 6]}})
    )
    assert line.startswith("`anatomy` is what maps are drawn on")


ANNEXED = ".git/annex/objects/2p/Xz/MD5E-s12--0a.dat/MD5E-s12--0a.dat"
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 12\n"


@pytest.mark.parametrize(
    "name", ["pictures/img10.png", "sub-01_run-1.nii.gz", "sub-02_run-2.tsv", "mask.nii.gz", "atlas.nii.gz", "r.npy"]
)
def test_a_file_whose_content_is_elsewhere_is_told_alone_with_the_command_that_gets_it(lab: Path, name: str) -> None:
    reference = {"kind": "file", "name": "r", "file": "r.npy"}
    changes = {"regions": {"atlas": "atlas.nii.gz", "keep": ["1"]}, "references": [reference]}
    np.save("r.npy", np.abs(np.arange(4.0)[:, None] - np.arange(4)))
    assert checks.problems_of(study(**changes)) == []
    Path(name).unlink()
    Path(name).symlink_to(ANNEXED)
    (line,) = checks.problems_of(study(**changes))
    assert line == (
        f"The content of {name} is not on this machine, git-annex has only the name. Get it: `datalad get {name}`, or "
        f"`git annex get {name}`."
    )
    Path(name).unlink()
    Path(name).write_text(LFS_POINTER)
    (line,) = checks.problems_of(study(**changes))
    assert line.startswith(
        f"The content of {name} is not on this machine, Git LFS has only a pointer. Get it: `git lfs "
    )


def test_data_that_were_never_fetched_are_one_line(lab: Path) -> None:
    for path in [*lab.glob("pictures/*"), *lab.glob("sub-*")]:
        path.unlink()
        path.symlink_to(ANNEXED)
    (line,) = checks.problems_of(study())
    assert line.startswith("The content of 12 of 13 files ('pictures/img1.png', 'pictures/img10.png', ")
    assert "and 9 more) is not on this machine" in line


def test_a_folder_that_is_a_link_to_nothing_is_told_as_that(lab: Path) -> None:
    Path("pictures").rename("elsewhere")
    Path("pictures").symlink_to("nowhere")
    assert checks.problems_of(study()) == [
        "The content of pictures is not on this machine, there is only a link to where nothing is. Mend the link, or "
        "bring what it leads to."
    ]


def test_names_of_rdms_that_no_table_can_hold_are_refused_before_they_are_computed(lab: Path) -> None:
    table = pd.DataFrame({"layer": ["fc\t1", "fc 2"]})
    io.save("r.h5", RDMs(np.arange(12.0).reshape(2, 6) + 1, CONDITIONS, table))
    references = [{"kind": "file", "name": "r", "file": "r.h5"}]
    (line,) = checks.problems_of(study(references=references))
    assert line.startswith(
        "Reference 'r' names RDMs 'fc\\t1', with a tab or a line break, which no cell of a table can "
    )


def test_names_of_regions_that_no_table_can_hold_are_refused_before_they_are_computed(lab: Path) -> None:
    (line,) = checks.problems_of(study(regions={"spheres": {"V1\tleft": [6, 6, 6]}}))
    assert line == "'V1\\tleft' has a tab or a line break, which no cell of a tab-separated table can hold; rename it."


def test_the_file_beside_a_header_belongs_to_it(lab: Path) -> None:
    Path("sub-01.set").write_bytes(b"0" * 100_000)
    Path("sub-01.fdt").symlink_to(ANNEXED)
    epochs = {"kind": "epochs", "subjects": ["01"], "file": "sub-{subject}.set"}
    (line,) = checks.problems_of(study(**NO_BRAIN, meeg=epochs))
    assert line.startswith("The content of sub-01.fdt is not on this machine")


def test_a_sound_study_of_m_eeg_alone_has_no_problems(lab: Path) -> None:
    write_movies()
    sound = study(**NO_BRAIN, meeg={**MOVIE, "distance": "cv_correlation"})
    assert checks.problems_of(sound) == []
    lines = checks.summary(sound).splitlines()
    assert "  M/EEG       01, 02" in lines
    assert "  distances   correlation (layers), cv_correlation (M/EEG); spearman" in lines
    assert not any(line.startswith("  subjects") for line in lines)
    both = checks.summary(study(meeg=MOVIE, fusion=True)).splitlines()
    assert {"  subjects    01, 02", "  M/EEG       01, 02"} < set(both)
    assert "  distances   correlation (layers), correlation (brain), unknown (M/EEG); spearman" in both


def test_conditions_of_m_eeg_alone_are_those_that_references_need(lab: Path) -> None:
    write_movies()
    np.savez("wrong.npz", np.ones((5, 5)) - np.eye(5))
    reference = {"kind": "file", "name": "a", "file": "wrong.npz"}
    alone = {**NO_BRAIN, "stimuli": None, "models": [], "meeg": MOVIE, "references": [reference]}
    (problem,) = checks.problems_of(study(**alone))
    assert "wrong.npz" in problem
    np.savez("wrong.npz", squareform(np.arange(6.0)))
    assert checks.problems_of(study(**alone)) == []
    assert "  conditions  4" in checks.summary(study(**alone)).splitlines()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (NO_BRAIN, "there are no data: set `brain`, `meeg` or both; or `units`, which looks at networks alone."),
        ({"fusion": True}, "fusion needs fMRI data (`brain`) and M/EEG data (`meeg`)."),
        ({**NO_BRAIN, "meeg": MOVIE, "fusion": True}, "fusion needs fMRI data (`brain`) and M/EEG data (`meeg`)."),
        (
            {"meeg": EPOCHS, "movie": {"whiten": "ledoit_wolf"}},
            "movie.whiten needs the noise before onset: set meeg.baseline_s, such as [-0.1, 0].",
        ),
        (
            {"meeg": MOVIE, "movie": {"distance": "cosine"}},
            "`movie` says how RDMs are made of epochs, and there are none: set meeg.kind to epochs, or leave it out.",
        ),
        (
            {"meeg": EPOCHS, "movie": {"folds": 4}},
            "movie.distance correlation is one of means over all trials: leave movie.folds out.",
        ),
        ({**NO_BRAIN, "meeg": EPOCHS, "comparison": "cosine"}, "or crossnobis for movie.distance, not correlation."),
        ({**NO_BRAIN, "meeg": MOVIE, "comparison": "cosine"}, "or crossnobis for meeg.distance, not unknown."),
        ({"brain": None, "meeg": MOVIE}, "`searchlight` and `regions` need brain images, not `kind: none`"),
        (
            {**NO_BRAIN, "meeg": MOVIE, "group": ["mean"]},
            "`group` maps need a `searchlight`.",
        ),
        ({**NO_BRAIN, "meeg": MOVIE, "noise": {}}, "need brain images, not `kind: none`."),
        ({**NO_BRAIN, "meeg": MOVIE, "fetch": "haxby"}, "set brain.kind to bids, not none."),
        (
            {"references": [{"kind": "file", "name": "meeg", "file": "no.npz"}], "meeg": MOVIE},
            "the name 'meeg' is that of the M/EEG RDMs; give the model or reference another `name`.",
        ),
        (
            {"brain": {"kind": "bids", "root": "b", "task": "a", "subjects": ["01"], "glm": {"method": "volumes",
             "delays_s": [0, 2]}}, "meeg": MOVIE, "fusion": True},
            "fusion needs one response per condition, and glm.method volumes has several delays.",
        ),
        ({"meeg": EPOCHS}, "subjects '01', '02': There is no file sub-{subject}-epo.fif"),
        ({"meeg": {**MOVIE, "subjects": ["01"]}}, "movies.npz"),
        ({"meeg": MOVIE, "simulate": {"epochs": {}}}, "simulate.epochs writes files of MNE: set meeg.kind to epochs"),
        (
            {"meeg": {**EPOCHS, "file": "{subject}.set"}, "simulate": {"epochs": {}}},
            "simulate.epochs writes files of MNE: set meeg.kind to epochs, and meeg.file to a name with _epo.fif.",
        ),
        (
            {"meeg": EPOCHS, "simulate": {"epochs": {"latencies": [
                {"name": "early", "model": "alexnet", "layer": "conv1", "peak_s": 0.1}]}}},
            "simulate.epochs.latencies: 'early' plants alexnet conv1, which no model has.",
        ),
    ],
)  # fmt: skip
def test_each_problem_of_m_eeg_is_found(lab: Path, changes: dict[str, Any], message: str) -> None:
    write_movies()
    problems = checks.problems_of(study(**changes))
    assert any(message in problem for problem in problems), problems


NET = {"kind": "file", "name": "net", "file": "net.npz"}


def write_net() -> None:
    """Write the RDMs of two layers."""
    half = np.triu(np.random.default_rng(2).random((2, 4, 4)), 1)
    np.savez("net.npz", half + half.swapaxes(1, 2))


PARTIAL = {"kind": "partial", "nuisance": ["net 1"]}
OTHERS = {"kind": "weighted", "of": ["net"], "n_folds": 2, "fitted_to": "others"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"analyses": [PARTIAL, PARTIAL]}, "two analyses are called 'partial'; set their `name`."),
        ({"analyses": [{**PARTIAL, "of": ["vgg11"]}]}, "analyses, partial: no reference is called 'vgg11'."),
        ({"analyses": [{**PARTIAL, "of": ["meeg"]}]}, "analyses, partial: no reference is called 'meeg'."),
        ({"analyses": [{"kind": "commonality"}]}, "analyses, commonality: it is of fMRI, M/EEG and a layer: set `fus"),
        ({"analyses": [{"kind": "weighted"}]}, "4 folds of 3 conditions or more need more than 4 conditions."),
        ({"analyses": [OTHERS], "brain__subjects": ["01"]}, "other subjects, and brain.subjects has one; set `fitted"),
        (
            {"analyses": [OTHERS], "template": {"transform": "identity"}},
            "analyses, weighted: weights are fitted to other subjects on one grid, and `template` brings maps there",
        ),
        ({"analyses": [PARTIAL], "comparison": "kendall_tau_a"}, "on the scale of 'spearman', 'pearson', not of 'ken"),
        ({"meeg": {**MOVIE, "subjects": ["01", "03"]}, "fusion": "paired"}, "meeg.subjects lacks '02'."),
        ({"meeg": MOVIE, "film_times_s": [0.01]}, "film_times_s are those of the films of fusion: set `fusion` and"),
        (
            {"meeg": MOVIE, "fusion": True, "film_times_s": [0, 0.03]},
            "film_times_s: M/EEG data are from 0 to 0.02 s after onset, and 0.03 s is not.",
        ),
    ],
)
def test_each_problem_of_analyses_is_found(lab: Path, changes: dict[str, Any], message: str) -> None:
    write_movies()
    write_net()
    problems = checks.problems_of(study(references=[NET], **changes))
    assert any(message in problem for problem in problems), problems


def test_references_of_subjects_are_of_all_subjects(lab: Path) -> None:
    write_net()
    Path("net.npz").rename("01.npz")
    own = {**NET, "file": "{subject}.npz", "subjects": ["01"]}
    (problem,) = checks.problems_of(study(references=[own]))
    assert problem == "Reference 'net' has an RDM of each of its `subjects`, and lacks '02'."
    Path("02.npz").write_bytes(Path("01.npz").read_bytes())
    both = study(references=[{**own, "subjects": ["01", "02"]}])
    assert checks.problems_of(both) == []
    assert checks.reference_labels(both)[-2:] == [("net", "1"), ("net", "2")]


def test_stimuli_with_problems_hide_no_others(lab: Path) -> None:
    write_movies()
    pictures = {"stimuli": {"table": "nowhere.tsv"}, "meeg": MOVIE, "fusion": True, "film_times_s": [0.5]}
    problems = checks.problems_of(study(references=[NET], **pictures))
    for words in ("nowhere.tsv", "0.5 s is not.", "There is no file net.npz"):
        assert any(words in problem for problem in problems), problems


def test_delays_in_a_table_can_be_neither_fused_nor_ranked(lab: Path) -> None:
    write_movies()
    write_net()
    for subject in ("01", "02"):
        for run in ("1", "2"):
            path = Path(f"sub-{subject}_run-{run}.tsv")
            twice = pd.DataFrame({"condition": CONDITIONS[:2] * 2, "delay_s": [2, 2, 4, 4]})
            twice.to_csv(path, sep="\t", index=False)
    asked: dict[str, Any] = {"meeg": MOVIE, "fusion": True, "ranking": {}, "regions": {"spheres": {"a": [0, 0, 0]}}}
    asked["network_comparisons"] = [{"kind": "before_after", "name": "tuning", "before": "a", "after": "b"}]
    problems = checks.problems_of(study(**asked, stimuli=None, models=[], references=[NET]))
    for who in ("fusion needs", "`ranking` needs", "`network_comparisons` of fits in regions need"):
        words = f"{who} one response per condition, and there are 2 delays."
        assert any(words in problem for problem in problems), problems


@pytest.mark.parametrize("distance", ["correlation", "cosine", "euclidean", "sqeuclidean", "cv_correlation"])
@pytest.mark.parametrize(
    "changes", [{}, {"group": ["mean", "t"]}, {"searchlight": None, "regions": {"atlas": "a.nii"}}]
)
def test_cosine_of_distances_of_noise_above_0_is_refused(lab: Path, distance: str, changes: dict[str, Any]) -> None:
    """cv_correlation too: of noise it is about 1."""
    problems = checks.problems_of(study(comparison="cosine", brain_distance=distance, **changes))
    (problem,) = (problem for problem in problems if "cosine" in problem)
    assert "none can be read against 0: set another `comparison`" in problem
    assert f"crossnobis for brain_distance, not {distance}." in problem
    for allowed in ({"comparison": "spearman"}, {"brain_distance": "crossnobis"}):
        how = {"comparison": "cosine", "brain_distance": distance, **allowed}
        assert not any("read against 0" in problem for problem in checks.problems_of(study(**how, **changes)))


def test_cosine_of_ready_rdms_needs_to_know_their_distance(lab: Path) -> None:
    np.savez("rdms.npz", V1=[squareform(np.arange(6.0))] * 2)
    brain = {"kind": "rdms", "subjects": ["01", "02"], "file": "rdms.npz", "regions": ["V1"]}
    for distance, expected in (("unknown", 1), ("1 - Pearson r", 1), ("crossnobis", 0)):
        ready = study(brain={**brain, "distance": distance}, searchlight=None, comparison="cosine")
        problems = [problem for problem in checks.problems_of(ready) if "read against 0" in problem]
        assert len(problems) == expected
        assert all(f"crossnobis for brain.distance, not {distance}." in problem for problem in problems)


def test_cosine_of_ready_crossnobis_is_no_problem(lab: Path) -> None:
    write_movies()
    for distance, expected in (("crossnobis", 0), ("decoding_lda", 1), ("cv_correlation", 1)):
        meeg = {**MOVIE, "distance": distance}
        assert len(checks.problems_of(study(**NO_BRAIN, meeg=meeg, comparison="cosine"))) == expected


def test_conditions_of_m_eeg_that_do_not_match_are_named(lab: Path) -> None:
    write_movies([*CONDITIONS[:3], "img12"])
    (problem,) = checks.problems_of(study(meeg=MOVIE))
    assert "subjects '01', '02'" in problem
    assert "'img11'" in problem


def test_a_reference_of_pixels_waits_for_the_pictures(lab: Path) -> None:
    rules = [{"kind": "file", "name": "a", "file": "a.npz", "condition_order": "order.txt"}, PIXELS]
    files = [str(path) for path in Plan(study(references=rules)).reference_files("pixels")]
    assert sorted(files) == sorted(f"pictures/{name}.png" for name in CONDITIONS)
    assert Plan(study(references=rules)).reference_files("a") == [Path("a.npz"), Path("order.txt")]
    assert checks.reference_labels(study(references=[PIXELS]))[-1] == ("pixels", "")


def test_pictures_that_a_study_draws_are_not_looked_for(lab: Path) -> None:
    table = "{results}/simulated/stimuli.tsv"
    simulated = {"simulate": {"images_per_category": 2}, "brain": SIMULATED}
    drawn = study(references=[PIXELS], stimuli={"table": table}, **simulated)
    assert checks.problems_of(drawn) == []
    assert Plan(drawn).reference_files("pixels") == [Path("results/lab/simulated/stimuli.tsv")]
    assert ("pixels", "") in checks.reference_labels(drawn)


def test_epochs_that_a_study_simulates_are_not_looked_for(lab: Path) -> None:
    meeg = {**EPOCHS, "file": "{results}/sub-{subject}-epo.fif"}
    made = {"simulate": {"epochs": {"n_runs": 2}}, "meeg": meeg, **NO_BRAIN}
    assert checks.problems_of(study(**made)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": [], "searchlight": None}, "nothing to compare the brain with"),
        ({"searchlight": None}, "nothing to do with the brain images"),
        ({"stimuli": None}, "models need pictures"),
        ({"group": ["mean"], "brain__subjects": ["01"]}, "`group` maps need 2 subjects or more"),
        ({"noise_ceiling": True, "brain__subjects": ["01"]}, "`noise_ceiling` maps need 2 subjects or more"),
        ({"noise_ceiling": True}, "the noise ceiling is written beside the mean over subjects: add `mean` to `group`"),
        ({"group": ["mean"], "searchlight": None, "regions": {"atlas": "atlas.nii.gz"}}, "need a `searchlight`"),
        (
            {"noise_ceiling": True, "group": ["mean"], "template": {"transform": "identity"}},
            "a noise ceiling needs patterns on one grid, and `template` brings maps there",
        ),
        ({"template": {"transform": "identity"}, "searchlight__stride": 2}, "maps with a searchlight.stride above 1"),
        ({"template": {"transform": "sub-{subject}.h5"}}, "There is no file sub-{subject}.h5"),
        (
            {"template": {"transform": "identity", "space": "T1w"}, "brain__space": "T1w"},
            "template.space is T1w, as that of the images, so their maps would have the names of those on the template",
        ),
        ({"ranking": {}}, "`ranking` compares models and references, and there is one: add another"),
        (
            {"network_comparisons": [{"kind": "variants", "models": ["alexnet"]}]},
            "the comparison 'variants' is of fits in regions: set `regions`, or leave it out.",
        ),
        ({"network_comparisons": [{"kind": "training", "model": "alexnet"}]}, "needs 2 checkpoints or more of 'alexn"),
        (
            {"network_comparisons": [{"kind": "training", "model": "alex"}]},
            "no model is called so. Did you mean 'alexn",
        ),
        ({"models": [{"architecture": "alexnet", "weights": "untrained", "seeds": [1, 1]}]}, "has a number twice"),
        ({"models": [{"architecture": "alexnet", "weights": "epoch_*.pth"}]}, "no file has a name like epoch_*.pth"),
        ({"ranking": {}}, "`ranking` is of models in regions: set `regions`"),
        ({"ranking": {}}, "`ranking` scores halves of the conditions, which needs 6 or more, and there are 4"),
        ({"noise": {"normalisation": "univariate", "scope": "brain"}}, "`univariate` has none: leave it out"),
        ({"noise": {}}, "residuals"),
        ({"searchlight__reliability": True, "brain_distance": "crossnobis"}, "searchlight.reliability needs 4 runs"),
        ({"generalisation": "within"}, "`generalisation` compares times of M/EEG data: set `meeg`"),
        ({"fetch": "haxby"}, "`fetch` lays data out as BIDS: set brain.kind to bids, not maps"),
        (
            {"references": [{"kind": "file", "name": "reliability", "file": "no.npz"}]},
            "the name 'reliability' is that of the split-half reliability",
        ),
        (
            {"models": [{"architecture": "alexnet", "weights": "untrained"}] * 2},
            "two models or references are called 'alexnet'",
        ),
        ({"models": [{"architecture": "alexnt"}]}, "'alexnt'. Did you mean 'alexnet'"),
        ({"models": [{"architecture": "alexnet", "weights": "untrained", "layers": ["conv1"]}]}, "conv1"),
        ({"models": [{"architecture": "alexnet", "weights": "IMAGENET"}]}, "IMAGENET1K_V1"),
        ({"models": [{"architecture": "alexnet", "weights": "no.pth"}]}, "no.pth"),
        ({"searchlight__min_voxels": 200}, "a sphere of 6 mm holds at most 33 voxels of these images, fewer than"),
        ({"brain__subjects": ["01", "03"]}, "sub-03_run-1.nii.gz"),
        ({"brain__mask": "nowhere.nii"}, "nowhere.nii"),
        ({"regions": {"atlas": "nowhere.nii"}}, "There is no file nowhere.nii"),
        ({"references": [{"kind": "file", "name": "a", "file": "no.npz"}]}, "no.npz"),
        ({"references": [{"kind": "table", "name": "a", "column": "animal"}]}, "no column 'animal'"),
        ({"references": [PIXELS], "stimuli": None, "models": []}, "Reference 'pixels' needs pictures: set `stimuli`"),
    ],
)
def test_each_problem_is_found(lab: Path, changes: dict[str, Any], message: str) -> None:
    problems = checks.problems_of(study(**changes))
    assert any(message in problem for problem in problems), problems


def test_a_network_may_be_called_like_what_tells_how_good_the_data_are(lab: Path) -> None:
    network = {"architecture": "alexnet", "weights": "untrained", "layers": ["features.1"], "name": "reliability"}
    assert checks.problems_of(study(models=[network])) == []


def test_one_run_has_no_distance_and_no_noise_between_runs(lab: Path) -> None:
    one = {"brain__runs": ["1"], "searchlight__reliability": True}
    problems = checks.problems_of(study(**one, brain_distance="cv_correlation", noise={"source": "runs"}))
    for text in (
        "brain_distance cv_correlation needs 2 runs or more, not 1.",
        "noise.source runs with brain_distance cv_correlation needs 3 runs or more, not 1; "
        "with noise.source residuals, 2 do.",
        "searchlight.reliability with noise.source runs needs 6 runs or more, not 1; "
        "with noise.source residuals, 4 do.",
    ):
        assert f"subjects '01', '02': {text}" in problems, (text, problems)
    assert checks.problems_of(study(brain_distance="cv_correlation", brain__runs=["1", "2"])) == []


@pytest.mark.parametrize(
    ("distance", "reliability", "n_least"),
    [("correlation", False, 2), ("correlation", True, 4), ("crossnobis", False, 3), ("crossnobis", True, 6)],
)
def test_noise_between_runs_needs_runs_that_are_not_compared(
    lab: Path, distance: str, reliability: bool, n_least: int
) -> None:
    for subject, run in itertools.product(("01", "02"), range(3, 7)):
        write_betas(subject, str(run), np.random.default_rng(run).standard_normal((6, 6, 6, 4)))
    for n_runs in (n_least - 1, n_least):
        runs = {"brain__runs": [str(n + 1) for n in range(n_runs)], "searchlight__reliability": reliability}
        problems = checks.problems_of(study(**runs, brain_distance=distance, noise={"source": "runs"}))
        assert any(f"needs {n_least} runs or more, not {n_runs}" in text for text in problems) == (n_runs < n_least)


def test_ready_rdms_have_no_noise(lab: Path) -> None:
    np.savez("rdms.npz", V1=[squareform(np.arange(6.0))] * 2)
    brain = {"kind": "rdms", "subjects": ["01", "02"], "file": "rdms.npz", "regions": ["V1"]}
    problems = checks.problems_of(study(brain=brain, searchlight=None, brain_distance="crossnobis"))
    assert problems == ["`noise`, `remove_mean` and `brain_distance` need brain images, not `kind: rdms`."]


def test_conditions_that_do_not_match_are_named(lab: Path) -> None:
    rng = np.random.default_rng(0)
    write_betas("02", "2", rng.standard_normal((6, 6, 6, 4)), ["img1", "img2", "img10", "img12"])
    Path("pictures/img11.png").rename("pictures/img13.png")
    problems = " ".join(checks.problems_of(study()))
    assert "'img13'" in problems
    assert "'img12'" in problems
    assert "'img11'" in problems


def test_grids_that_do_not_match_are_printed(lab: Path) -> None:
    other = AFFINE.copy()
    other[0, 3] = 5.0
    write_betas("01", "2", np.zeros((6, 6, 6, 4)), affine=other)
    problems = " ".join(checks.problems_of(study()))
    assert "[3.0, 0.0, 0.0, 5.0]" in problems
    assert "[3.0, 0.0, 0.0, 0.0]" in problems


def test_a_radius_beyond_the_images_is_told(lab: Path) -> None:
    (problem,) = checks.problems_of(study(searchlight={"radius_mm": 500, "min_voxels": 5}))
    assert problem.startswith("searchlight.radius_mm is 500, and the images are 26 mm from corner to corner")


def test_images_of_regions_are_looked_at_before_a_run(lab: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] = 1.5
    atlas = np.ones((6, 6, 6, 2), np.int16)
    nib.save(nib.Nifti1Image(atlas, AFFINE), "several.nii")
    nib.save(nib.Nifti1Image(atlas[..., 0], moved), "moved.nii")
    nib.save(nib.Nifti1Image(atlas[..., 0].astype(np.complex64), AFFINE), "complex.nii")
    told = {
        "several.nii": "The image of regions several.nii has 2 volumes (shape (6, 6, 6, 2)), where one is expected",
        "moved.nii": "The regions of moved.nii and the brain images lie on different grids",
        "complex.nii": "complex.nii holds complex numbers",
    }
    for name, text in told.items():
        for regions in ({"atlas": name}, {"masks": {"a": name}}):
            assert any(text in problem for problem in checks.problems_of(study(regions=regions))), (name, regions)
    resampled = {"atlas": "moved.nii", "resample": True}
    assert checks.problems_of(study(regions=resampled)) == []


def test_rounding_of_an_affine_is_no_problem(lab: Path) -> None:
    other = AFFINE.copy()
    other[0, 3] = 5e-5
    write_betas("01", "2", np.random.default_rng(0).standard_normal((6, 6, 6, 4)), affine=other)
    assert checks.problems_of(study()) == []


def test_a_group_needs_one_grid(lab: Path) -> None:
    for run in ("1", "2"):
        write_betas("02", run, np.zeros((5, 6, 6, 4)))
    nib.save(nib.Nifti1Image(np.ones((5, 6, 6), np.uint8), AFFINE), "mask-02.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((6, 6, 6), np.uint8), AFFINE), "mask-01.nii.gz")
    own = {"brain__mask": "mask-{subject}.nii.gz"}
    assert checks.problems_of(study(**own)) == []
    problems = checks.problems_of(study(**own, group=["mean"]))
    assert len(problems) == 1
    assert "group maps need all subjects on one grid" in problems[0]
    assert "(5, 6, 6)" in problems[0]
    assert "(6, 6, 6)" in problems[0]


def test_ready_rdms_have_no_searchlight(lab: Path) -> None:
    np.savez("rdms.npz", V1=[squareform(np.arange(6.0))] * 2)
    brain = {"kind": "rdms", "subjects": ["01", "02"], "file": "rdms.npz", "regions": ["V1"]}
    assert checks.problems_of(study(brain=brain, searchlight=None)) == []
    assert "need brain images, not `kind: rdms`" in checks.problems_of(study(brain=brain))[0]


def test_an_unreadable_picture_is_named(lab: Path) -> None:
    Path("pictures/img2.png").write_bytes(b"no picture")
    assert any("img2.png" in problem for problem in checks.problems_of(study()))


def test_layers_that_would_share_a_file_are_refused(lab: Path) -> None:
    from rsa.errors import UserError
    from rsa.names import require_distinct_labels

    with pytest.raises(UserError, match=r"'features.1' and 'features1' would share the file name label 'features1'"):
        require_distinct_labels(["features.1", "features1"], "layers of net")


@pytest.mark.parametrize(
    ("simulate", "message"),
    [
        ({"mask": "nowhere.nii"}, "There is no file nowhere.nii (simulate)"),
        ({"images_per_category": 2}, "a simulation writes its pictures beside a table"),
        ({}, "all with {subject}"),
        (
            {"regions": [{"name": "a", "model": "alexnet", "layer": "conv1", "centres_mm": [[0, 0, 0]]}]},
            "'a' plants alexnet conv1, which no model has",
        ),
    ],
)
def test_a_simulation_that_cannot_be_written(lab: Path, simulate: dict[str, Any], message: str) -> None:
    problems = checks.problems_of(study(simulate=simulate))
    assert any(message in problem for problem in problems), problems


def test_the_command_line_lists_all_problems(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.yaml").write_text(
        """
study: lab
stimuli: {folder: pictures}
models: [{architecture: alexnt}]
brain: {kind: maps, subjects: ["09"], images: "{subject}.nii", table: t.tsv}
searchlight: {radius_mm: 6}
group: [mean]
"""
    )
    assert cli.main(["check", "my.yaml"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: The configuration has 3 problems:\n  - ")
    assert "alexnet" in said
    assert "09.nii" in said
    assert "group" in said


# ------------------------------------------------------------------------------- names that become files

CHINESE = "\N{CJK UNIFIED IDEOGRAPH-732B}\N{CJK UNIFIED IDEOGRAPH-72D7}"


@pytest.mark.parametrize("layers", [["a.1", "a1"], ["A1", "a1"], list(CHINESE)])
def test_layers_of_a_reference_that_would_share_a_file_are_refused(lab: Path, layers: list[str]) -> None:
    values = np.random.default_rng(0).random((2, 6))
    table = pd.DataFrame({"model": "x", "layer": layers})
    io.save("rdms.h5", RDMs(values, CONDITIONS, table, "correlation"))
    reference = {"kind": "file", "name": "other", "file": "rdms.h5"}
    (problem,) = checks.problems_of(study(references=[reference]))
    assert f"The RDMs of other {layers[0]!r} and {layers[1]!r} would share the file name label" in problem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"brain__subjects": ["A1", "a1"]}, "The brain.subjects 'A1' and 'a1' would share"),
        ({**NO_BRAIN, "meeg": {**EPOCHS, "subjects": ["A1", "a1"]}}, "The meeg.subjects 'A1' and 'a1' would share"),
        (
            {"references": [{**PIXELS, "name": name} for name in ("low", "LOW")]},
            "The names of models and references 'low' and 'LOW' would share",
        ),
        ({"references": [{**PIXELS, "name": "Reliability"}]}, "the name 'Reliability' is that of the split-half"),
        ({"references": [{**PIXELS, "name": "MEEG"}]}, "the name 'MEEG' is that of the M/EEG RDMs"),
        (
            {"references": [PIXELS], "analyses": [{"kind": "partial", "name": name} for name in ("one", "One")]},
            "The names of analyses 'one' and 'One' would share",
        ),
    ],
)
def test_names_that_differ_in_case_alone_are_refused(lab: Path, changes: dict[str, Any], message: str) -> None:
    assert any(message in problem for problem in checks.problems_of(study(**changes)))


def test_predictors_whose_maps_would_share_a_file_are_refused() -> None:
    with pytest.raises(ValueError, match="The predictors 'early' and 'Early' would share the file name label"):
        Partition(predictors={"early": ["a"], "Early": ["b"]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"brain__subjects": ["s" * 300]}, "shorten the subject ssssssssssssssssssss..., which has 300"),
        ({"references": [{**PIXELS, "name": "p" * 300}]}, "shorten the model pppppppppppppppppppp..., which has 300"),
        ({"brain__space": "t" * 300}, "shorten the space tttttttttttttttttttt..., which has 300"),
        (
            {"references": [PIXELS], "analyses": [{"kind": "partial", "name": "a" * 300}]},
            "shorten the analysis aaaaaaaaaaaaaaaaaaaa..., which has 300",
        ),
        ({"study": "x" * 300}, "study: the name of a folder has up to 210 letters, not 300; shorten it"),
    ],
)
def test_labels_that_are_too_long_for_files_are_refused(lab: Path, changes: dict[str, Any], message: str) -> None:
    problems = checks.problems_of(study(**changes))
    assert any(message in problem for problem in problems)


def test_a_name_of_a_file_that_is_too_long_is_one_line(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Letters beyond ASCII take several bytes: 100 of them are too many for a file."""
    name = CHINESE * 50
    settings = study(brain__mask=f"{name}.nii.gz").model_dump(mode="json", exclude_defaults=True)
    settings["brain"]["kind"] = "maps"
    settings["models"] = [{"architecture": "alexnet", "weights": "untrained", "layers": ["features.1"]}]
    Path("my.yaml").write_text(json.dumps(settings))
    assert cli.main(["check", "my.yaml"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: A name is longer than files may have")
    assert len(said.splitlines()) == 1


def test_settings_that_are_too_long_for_a_command_are_refused(lab: Path) -> None:
    spheres = {f"region{n}": [[n, 0, 0]] for n in range(30_000)}
    problems = checks.problems_of(study(regions={"spheres": spheres}))
    assert any("kB, and systems let commands have 500: put long lists into files" in problem for problem in problems)


# ------------------------------------------------------------------------------------------- warnings


def test_a_study_of_different_data_has_no_warnings(lab: Path) -> None:
    assert checks.warnings_of(study()) == []


@pytest.mark.parametrize("make", ["copy", "link"])
@pytest.mark.parametrize("other", ["sub-02_run-1", "sub-01_run-2"])
def test_data_that_are_a_copy_of_others_are_told(lab: Path, make: str, other: str) -> None:
    path = Path(f"{other}.nii.gz")
    path.unlink()
    if make == "link":
        path.symlink_to("sub-01_run-1.nii.gz")
    else:
        shutil.copy("sub-01_run-1.nii.gz", path)
    assert checks.problems_of(study()) == []
    (warning,) = checks.warnings_of(study())
    assert warning == f"sub-01_run-1.nii.gz has the same content as '{other}.nii.gz': is one a copy by mistake?"


def test_files_that_differ_in_one_byte_are_no_copies(lab: Path) -> None:
    content = bytes(100_000)
    for number, name in enumerate("abc"):
        Path(name).write_bytes(content[:99_000] + bytes([number]) + content[99_000:])
    shutil.copy("a", "d")
    assert copies(["a", "b", "c", "d", "nowhere"]) == [["a", "d"]]


def test_numbers_of_an_atlas_with_two_names_are_told(lab: Path) -> None:
    pd.DataFrame({"index": [1, 1, 2], "region": ["V1", "striate", "V2"]}).to_csv("l.tsv", sep="\t", index=False)
    (warning,) = checks.warnings_of(study(regions={"atlas": "atlas.nii.gz", "labels": "l.tsv"}))
    assert warning.startswith("The number 1 of the atlas has the names 'V1', 'striate'")


# ------------------------------------------------------------------------------------------- inference

REFERENCES = [{"kind": "table", "name": "number", "column": "number", "rule": "difference"}]


@pytest.fixture
def six(lab: Path) -> Path:
    """Make the study one of six pictures and six subjects with M/EEG, without a network."""
    names = [f"img{i}" for i in range(6)]
    for subject in range(1, 7):
        for run in ("1", "2"):
            write_betas(f"{subject:02d}", run, np.random.default_rng(subject).standard_normal((6, 6, 6, 6)), names)
    pd.DataFrame({"condition": names, "number": range(6), "same": 1, "group": list("xxxyyy")}).to_csv(
        "stimuli.tsv", sep="\t", index=False
    )
    half = np.triu(np.random.default_rng(1).random((6, 3, 6, 6)), 1)
    np.savez("movies.npz", half + half.swapaxes(2, 3))
    np.savez("two.npz", half[:2] + half[:2].swapaxes(2, 3))
    Path("order.txt").write_text("\n".join(names) + "\n")
    people = {"participant_id": [f"sub-0{i}" for i in range(1, 7)], "group": list("aaabbb"), "age": range(6)}
    pd.DataFrame({**people, "one": list("abbbbb"), "town": list("uvwxyz"), "same": 1}).to_csv(
        "participants.tsv", sep="\t", index=False
    )
    return lab


def inferred(inference: dict[str, Any], **changes: Any) -> Any:
    subjects = [f"0{i}" for i in range(1, 7)]
    raw = {
        "stimuli": {"table": "stimuli.tsv"},
        "models": None,
        "references": REFERENCES,
        "brain__subjects": subjects,
        "group": ["mean"],
        "inference": inference,
    }
    return study(**{**raw, **changes})


SUBJECTS_6 = {"over": "subjects"}
PEOPLE = {"over": "subjects", "participants": "participants.tsv"}


@pytest.mark.parametrize(
    ("inference", "changes"),
    [
        (SUBJECTS_6, {}),
        ({"over": "conditions", "permutations": 500}, {}),
        ({"over": "conditions", "combine": "stelzer", "permutations": 200}, {}),
        ({**PEOPLE, "groups": "group", "alpha": 0.06}, {}),
        ({**PEOPLE, "covariates": ["age"]}, {}),
        ({"over": "conditions"}, {"brain__subjects": ["01"], "group": None}),
        ({"over": "subjects"}, {"meeg": {**MOVIE, "subjects": [f"0{i}" for i in range(1, 7)]}, "fusion": True}),
    ],
)
def test_studies_that_can_be_tested_have_no_problems(
    six: Path, inference: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert checks.problems_of(inferred(inference, **changes)) == []


NO_P = "can give no p below"
LABELLED = [{"name": "d", "a": "number", "b": "kind"}]


@pytest.mark.parametrize(
    ("inference", "changes", "message"),
    [
        (SUBJECTS_6, {"group": None}, "inference on maps of several subjects is on those of the group: set `group:"),
        (SUBJECTS_6, {"brain__subjects": ["01"], "group": None}, "A test over subjects needs 2 subjects or more"),
        (
            SUBJECTS_6,
            {"brain__subjects": ["01", "02", "03", "04"]},
            f"inference over the 4 brain.subjects {NO_P} 0.0625, and alpha is 0.05: take more subjects or permutations",
        ),
        (
            {**SUBJECTS_6, "alternative": "two-sided"},
            {"brain__subjects": ["01", "02", "03", "04", "05"]},
            f"inference over the 5 brain.subjects {NO_P} 0.0625",
        ),
        ({**SUBJECTS_6, "permutations": 9}, {}, f"inference over the 6 brain.subjects {NO_P} 0.1"),
        (
            SUBJECTS_6,
            {"meeg": {**MOVIE, "file": "two.npz"}},
            f"inference over the 2 meeg.subjects {NO_P} 0.25",
        ),
        ({**SUBJECTS_6, "combine": "stelzer"}, {}, "inference.combine is of permutations of conditions: leave it out"),
        ({**SUBJECTS_6, "groups": "group"}, {}, "inference.groups and covariates are columns of a table of"),
        (PEOPLE, {}, "inference.participants is read for groups and covariates: set one of them, or leave it out."),
        ({**PEOPLE, "covariates": ["age"], "levels": ["a", "b"]}, {}, "inference.levels are those of a column"),
        (
            {**PEOPLE, "covariates": ["age"], "statistic": "wilcoxon"},
            {},
            "wilcoxon is of a mean alone, without groups and covariates: set inference.statistic to t.",
        ),
        (
            {**PEOPLE, "covariates": ["age"], "statistic": "pseudo_t"},
            {},
            "pseudo_t errs too often with covariates (docs/inference.md): set inference.statistic to t.",
        ),
        ({**PEOPLE, "participants": "no.tsv", "groups": "group"}, {}, "inference: There is no table no.tsv."),
        ({**PEOPLE, "groups": "sex"}, {}, "'sex'"),
        ({**PEOPLE, "groups": "one"}, {}, "the group 'a' has 1 subject; a difference needs 2 or more in each group."),
        ({**PEOPLE, "groups": "town"}, {}, "'town' has the groups 'u', 'v', 'w', 'x', 'y', 'z' in these"),
        ({**PEOPLE, "covariates": ["town"]}, {}, "'town' of subject '01' is 'u', and a covariate is a number"),
        ({**PEOPLE, "covariates": ["same"]}, {}, "the covariate 'same' is 1 for all subjects; leave it out."),
        ({**PEOPLE, "groups": "group"}, {"brain__subjects": ["01", "02", "04", "05"]}, f"{NO_P} 0.167"),
        ({"over": "conditions", "statistic": "t"}, {}, "inference.statistic is of a test over subjects"),
        (
            {"over": "conditions", "contrasts": LABELLED},
            {"references": [*REFERENCES, {"kind": "table", "name": "kind", "column": "group"}]},
            "inference.contrasts is of a test over subjects (both references are unrelated to the brain where",
        ),
        ({**PEOPLE, "over": "conditions"}, {}, "inference.participants is of a test over subjects: set inference.over"),
        ({"over": "conditions", "groups": "group"}, {}, "inference.groups is of a test over subjects"),
        ({"over": "conditions", "levels": ["a", "b"]}, {}, "inference.levels is of a test over subjects"),
        ({"over": "conditions", "covariates": ["age"]}, {}, "inference.covariates is of a test over subjects"),
        (
            {"over": "conditions"},
            {"template": {"transform": "identity"}},
            "inference over conditions needs the patterns of all subjects on one grid, and `template` brings",
        ),
        (
            {"over": "conditions", "combine": "stelzer"},
            {"brain__subjects": ["01"], "group": None},
            "inference.combine: stelzer draws from the maps of 2 subjects or more: leave it out.",
        ),
        ({"over": "conditions", "permutations": 10}, {}, f"inference by the orders of 6 conditions {NO_P} 0.0909"),
        ({**SUBJECTS_6, "contrasts": LABELLED}, {}, "inference.contrasts: the contrast 'd' is of 'kind', and no"),
    ],
)  # fmt: skip
def test_each_problem_of_inference_is_one_line(
    six: Path, inference: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    problems = checks.problems_of(inferred(inference, **changes))
    assert len(problems) == 1, problems
    assert message in problems[0]
    assert "\n" not in problems[0]


@pytest.mark.parametrize(
    ("inference", "message"),
    [
        ({"over": "subjects", "family": ["times"]}, "p values are always corrected over voxels"),
        ({"over": "subjects", "connectivity": 8}, "a voxel has 6, 18 or 26 neighbours"),
        ({"over": "subjects", "enhance": "tcfe"}, "Did you mean 'tfce'?"),
        ({"over": "subjects", "permutations": 0}, "inference.permutations"),
        ({"over": "pictures"}, "inference.over"),
        ({}, "the key 'inference.over' is missing."),
    ],
)
def test_settings_of_inference_that_there_are_not(six: Path, inference: dict[str, Any], message: str) -> None:
    with pytest.raises(Problems, match=re.escape(message)):
        inferred(inference)


def test_what_is_not_tested_is_told_beside_a_study_without_problems(six: Path) -> None:
    partition = [{"kind": "partition", "predictors": {"a": ["number"], "b": ["other"]}}]
    references = [*REFERENCES, {"kind": "table", "name": "other", "column": "group"}]
    meeg = {**MOVIE, "subjects": [f"0{i}" for i in range(1, 7)]}
    changes = {"references": references, "analyses": partition, "meeg": meeg, "fusion": True}
    given = inferred(SUBJECTS_6, **changes)
    assert checks.problems_of(given) == []
    shares, fused = (text for text in checks.warnings_of(given) if " no p" in text or "tested" in text)
    assert shares.startswith("the maps of partition are shares of variance, which flips of subjects cannot test")
    assert fused.endswith("flips of subjects would find the noise reliable that the common RDM has.")
    over_conditions = checks.warnings_of(inferred({"over": "conditions"}, **changes))
    assert not [text for text in over_conditions if " no p" in text or "tested" in text]
    slow = "TFCE through space and time takes up to seconds"
    assert any(text.startswith(slow) and "10,000 permutations" in text for text in over_conditions)
    for few in ({"enhance": "cluster_mass"}, {"permutations": 500}, {"family": ["voxels"]}):
        warnings = checks.warnings_of(inferred({"over": "conditions", **few}, **changes))
        assert not any(text.startswith(slow) for text in warnings)
    partial = [{"kind": "partial", "nuisance": ["number"]}]
    said = checks.warnings_of(inferred({"over": "conditions"}, references=references, analyses=partial))
    assert any(text.startswith("p values of partial are too small where the brain is like") for text in said)
    on_template = inferred(SUBJECTS_6, **changes, template={"transform": "identity"})
    assert any("have no p, as `template` brings maps to one grid" in text for text in checks.warnings_of(on_template))


def checked(six: Path, capsys: pytest.CaptureFixture[str], given: Any, code: int) -> list[str]:
    Path("my.yaml").write_text(given.model_dump_json(exclude_unset=True))
    assert cli.main(["check", "my.yaml"]) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return [line for line in (said.err + said.out).splitlines() if line]


def test_masks_that_share_no_voxel_are_told_before_a_run(six: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 7):
        mask = np.zeros((6, 6, 6), np.uint8)
        mask[number - 1] = 1
        nib.save(nib.Nifti1Image(mask, AFFINE), f"mask-0{number}.nii.gz")
    own = {"brain__mask": "mask-{subject}.nii.gz"}
    (line,) = checked(six, capsys, inferred(SUBJECTS_6, **own), 2)
    assert "group maps need voxels that all subjects have, and their masks share none; are they in one space?" in line
    for number in range(1, 7):
        mask = np.ones((6, 6, 6), np.uint8)
        mask[number - 1, 0, 0] = 0
        nib.save(nib.Nifti1Image(mask, AFFINE), f"mask-0{number}.nii.gz")
    assert checks.problems_of(inferred(SUBJECTS_6, **own)) == [], "masks that differ are tested where they overlap"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"brain__subjects": ["01"], "group": None}, "A test over subjects needs 2 subjects or more, not 1"),
        ({"references": [{**REFERENCES[0], "column": "same"}]}, "same"),
        ({"references": [*REFERENCES, *REFERENCES]}, "two models or references are called 'number'"),
    ],
)
def test_bad_input_ends_with_code_2_and_a_line(
    six: Path, capsys: pytest.CaptureFixture[str], given: dict[str, Any], message: str
) -> None:
    lines = checked(six, capsys, inferred(SUBJECTS_6, **given), 2)
    assert any(message in line for line in lines), lines


def test_two_conditions_have_nothing_to_permute(six: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pd.DataFrame({"condition": ["img0", "img1"], "number": [0, 1]}).to_csv("stimuli.tsv", sep="\t", index=False)
    lines = checked(six, capsys, inferred({"over": "conditions"}, brain__only_stimuli=True), 2)
    assert any("it needs 3 conditions or more, and the stimuli have 2" in line for line in lines)
