"""What is written about the project agrees with the project: schema, pages, environments, versions, links, commands."""

import json
import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path

import jsonschema
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import test_extension_points as conformance
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from PIL import Image
from pydantic import BaseModel, TypeAdapter
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from test_imports import WINGS

from rsa import datasets
from rsa.comparisons import COMPARISONS, compare_vectors
from rsa.distances import DISTANCES, rdm_vectors
from rsa.inference.group import GROUP_TESTS
from rsa.inputs import references
from rsa.maps import MAPS
from rsa.meeg.timecourse import MOVIE_DISTANCES
from rsa.models import extraction, layer_rdms
from rsa.pipeline import schema, stages
from rsa.pipeline.cli import build_parser
from rsa.pipeline.config import Study, load_study, read_yaml
from rsa.settings import descriptions

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SHIPPED = [ROOT / "config.yaml", *sorted((ROOT / "config").glob("*.yaml"))]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "config/README.md", ROOT / "results/README.md"]
)
NOT_OURS = {"results", "data", "build", "dist", "__pycache__", "node_modules"}
NAMES_ON_CONDA = {"torch": ("pytorch-cpu", "pytorch-gpu"), "matplotlib": ("matplotlib-base",)}
NAMES_ON_CONDA |= {"snakemake": ("snakemake-minimal",), "mne": ("mne-base",)}


def by_name(paths: list[Path]) -> list:
    return [pytest.param(path, id=path.relative_to(ROOT).as_posix()) for path in paths]


def own_files() -> list[Path]:
    """List the text files of the project: no caches, no results, no environment, nothing that was installed."""
    hidden = {".ci", ".pre-commit-config.yaml", ".snakemake-workflow-catalog.yml", ".gitignore"}
    top = [path for path in ROOT.iterdir() if path.name in hidden or not path.name.startswith(".")]
    top = [path for path in top if path.name not in NOT_OURS and path.suffix != ".egg-info"]
    files = [file for path in top for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    files = [file for file in files if not NOT_OURS & set(file.relative_to(ROOT).parts)]
    return [*files, ROOT / "results/README.md"]


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""  # a picture


def code_blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.S | re.M)


def shell_lines() -> list[str]:
    """Return the commands of all pages, one string each, with continued lines joined and comments left out."""
    text = "\n".join(block for page in PAGES for block in code_blocks(page, "bash"))
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]


# ------------------------------------------------------------------------------------------- configuration


def sections() -> list[type[BaseModel]]:
    """Return Study and every section that it may hold, found through pydantic's own schema."""
    named = set(Study.model_json_schema()["$defs"])
    found: list[type[BaseModel]] = []
    waiting: list[type[BaseModel]] = list(BaseModel.__subclasses__())
    while waiting:
        section = waiting.pop()
        waiting += section.__subclasses__()
        if section.__name__ in named and section.__module__.startswith("rsa."):
            found.append(section)
    assert {section.__name__ for section in found} == named
    return [Study, *found]


def test_schema_and_page_are_in_step_with_the_models(tmp_path):
    schema.write(tmp_path)
    for name in ("workflow/config.schema.json", "docs/configuration.md"):
        written = (tmp_path / name).read_text(encoding="utf-8")
        assert written == (ROOT / name).read_text(encoding="utf-8"), (
            f"{name} is old; run `python -m rsa.pipeline.schema`"
        )


def test_every_key_is_described_and_on_the_page():
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    for section in sections():
        texts = descriptions(section)
        for key in section.model_fields:
            text = " ".join(texts[key].split())
            assert len(text) > 10, f"{section.__name__}.{key} has no description"
            assert re.search(rf"^\| `{key}` \|.*\| {re.escape(text)} \|$", page, flags=re.M), (
                f"{key} is not on the page"
            )


def test_every_choice_is_on_the_page():
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    for kind in ("variants", "before_after", "training"):
        assert f"## `network_comparisons`, `kind: {kind}`" in page
    for table in (DISTANCES, COMPARISONS, MAPS, GROUP_TESTS, MOVIE_DISTANCES):
        for name in table:
            assert f"* `{name}`: " in page
    for table in (datasets.DATASETS, datasets.MEEG_DATASETS, references.REFERENCES):
        for kind in table:
            assert f"`kind: {kind}`" in page


@pytest.mark.parametrize("path", by_name(SHIPPED))
def test_every_shipped_configuration_is_valid(path):
    raw = read_yaml(path)
    study = load_study(raw)
    assert study.study == raw["study"]
    assert Study.model_validate_json(study.model_dump_json()) == study, "as the settings reach stages"
    jsonschema.Draft202012Validator(json.loads((ROOT / "workflow/config.schema.json").read_text())).validate(raw)


@pytest.mark.parametrize(
    "change",
    [
        {"radius_mm": 10},
        {"brain": {"subjects": ["01"], "images": "a.nii", "table": "a.tsv"}},
        {"comparison": "spearmann"},
        {"searchlight": {"radius_mm": 0}},
        {"study": None},
    ],
    ids=["unknown key", "no kind", "unknown choice", "out of range", "no text"],
)
def test_schema_refuses_what_the_loader_refuses(change):
    validator = jsonschema.Draft202012Validator(schema.json_schema())
    raw = read_yaml(ROOT / "config.yaml")
    assert validator.is_valid(raw)
    assert not validator.is_valid(raw | change)
    with pytest.raises(Exception, match="The configuration has a problem"):
        load_study(raw | change)


# ---------------------------------------------------------------------------------- environments, versions


def requirements(names: list[str]) -> dict[str, str]:
    parsed = [Requirement(name) for name in names]
    return {canonicalize_name(one.name): str(one.specifier) for one in parsed}


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_environments_agree_with_the_dependencies(name):
    listed = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())["dependencies"]
    conda = requirements(listed)
    assert conda.pop("python") == PROJECT["requires-python"]
    assert (f"pytorch-{name}" in conda) is True
    there = {ours: conda_name for ours, names in NAMES_ON_CONDA.items() for conda_name in names if conda_name in conda}
    renamed = {conda_name: ours for ours, conda_name in there.items()}
    assert {renamed.get(one, one): ranges for one, ranges in conda.items()} == requirements(PROJECT["dependencies"])


def test_pinned_versions_lie_in_the_ranges_and_name_no_place():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line.strip() and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in pins), "only name==version"
    pinned = {canonicalize_name(name): version for name, version in (line.split("==") for line in pins)}
    assert len(pinned) == len(pins)
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    for text in [*PROJECT["dependencies"], *extras]:
        wanted = Requirement(text)
        if wanted.name == PROJECT["name"]:  # an extra that takes others in
            continue
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)], prereleases=True), text


def test_the_container_is_made_of_the_pinned_versions_and_of_files_that_are_there():
    recipe = (ROOT / "Dockerfile").read_text()
    (python,) = re.findall(r"^FROM python:([\d.]+)-slim$", recipe, flags=re.M)
    assert Requirement("python" + PROJECT["requires-python"]).specifier.contains(python)
    copied = [word for line in re.findall(r"^COPY (.+)$", recipe, flags=re.M) for word in line.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), flags=re.M)
    assert sorted(copied) == sorted(allowed)
    needed = {"rsa", "constraints.txt", "pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]}
    needed |= {pattern.split("/")[0] for pattern in re.findall(r'"([^"]+\.(?:smk|yaml))"', text_of(ROOT / "setup.py"))}
    assert needed <= set(copied)
    assert "--constraint /source/constraints.txt" in recipe


def test_versions_agree():
    version = PROJECT["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)
    assert headings[0] == "Unreleased"
    released = [Version(heading) for heading in headings[1:]]
    assert released == sorted(released, reverse=True)
    assert all(one <= Version(version) for one in released)


def test_licence_is_the_one_that_is_declared():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    licence = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == citation["license"] == "BSD-3-Clause"
    assert licence.startswith("BSD 3-Clause License")
    assert "brain-model-rsa developers" in licence


def test_no_file_names_a_machine_or_a_package_index():
    folders = "|".join(["work", "root", "home"])
    machine = re.compile(rf"(?<![\w.~/-])/({folders})/")
    index = re.compile("|".join(["pypi" + r"\.org", "python" + "hosted", "index" + "-url", "anaconda" + r"\.org"]))
    files = own_files()
    assert len(files) > 60
    assert ROOT / ".ci/run" in files
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files
        for pattern in (machine, index)
        if (match := pattern.search(text_of(path)))
    ]
    assert not found


def test_that_search_would_find_one():
    folders = "|".join(["work", "root", "home"])
    machine = re.compile(rf"(?<![\w.~/-])/({folders})/")
    assert machine.search('path = "' + "/" + 'home/me/x"')
    assert not machine.search("docs/home/x and ../work/y")


# --------------------------------------------------------------------------------------- pages and commands


def test_every_page_is_there():
    names = {page.relative_to(ROOT).as_posix() for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md", "results/README.md"} <= names
    pages = ("quickstart", "conventions", "formats", "extending", "configuration", "architecture", "examples")
    assert {f"docs/{name}.md" for name in pages} <= names


def anchors(path: Path) -> set[str]:
    """Return the anchors that a page's headings have: lower case, no punctuation, dashes for spaces."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", by_name(PAGES))
def test_relative_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


def test_make_commands_are_targets_of_the_makefile():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    asked = set(re.findall(r"(?:^|`)make ([a-z]+)", text, flags=re.M))
    assert {"run", "test"} <= asked <= targets


def test_stages_in_the_pages_take_the_options_that_are_given(monkeypatch):
    monkeypatch.setenv("D", "data")
    lines = [line for line in shell_lines() if line.startswith("python -m rsa ")]
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(line, comments=True)[3:]
        if "--help" in words or words[0] == "run":  # whose options are Snakemake's
            continue
        assert words[0].replace("-", "_") in stages.__all__, line
        stage = getattr(stages, words[0].replace("-", "_"))
        parser = build_parser(words[0], stage)
        parser.allow_abbrev = False
        parser.parse_args(words[1:])  # exits, and so fails, if an option is unknown


def test_snakemake_commands_name_files_and_rules_that_are_there():
    lines = [line for line in shell_lines() if line.startswith("snakemake ")]
    rules = set(
        re.findall(r"^ *rule (\w+):", "\n".join(map(text_of, (ROOT / "workflow/rules").glob("*.smk"))), flags=re.M)
    )
    assert len(lines) >= 3
    for line in lines:
        words = shlex.split(line, comments=True)
        given = dict(pairwise(words))
        config = given.get("--configfile", "config.yaml")
        assert config == "my.yaml" or (ROOT / config).is_file(), line
        assert given.get("--forcerun", "searchlight") in rules, line


def test_configurations_in_the_pages_are_valid():
    validator = jsonschema.Draft202012Validator(schema.json_schema())
    blocks = [block for page in PAGES for block in code_blocks(page, "yaml") if block.startswith("study:")]
    assert blocks
    for block in blocks:
        raw = yaml.safe_load(block)
        validator.validate(raw)
        load_study(raw)


def test_the_page_on_the_house_names_every_module_in_its_room():
    """Wings stand on the page in the order of their floors, and each module is named in the row of its wing."""
    page = (
        (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## The house")[2].partition("\n## ")[0]
    )
    rows = {line.split("|")[1].strip(" `/"): line for line in page.splitlines() if re.match(r"\| (`|the root)", line)}
    assert tuple(rows) == ("the root", *WINGS)
    for path in (ROOT / "rsa").rglob("*.py"):
        parts = path.relative_to(ROOT / "rsa").with_suffix("").parts
        if parts[-1].startswith("__"):
            continue
        row = rows[parts[0] if parts[0] in WINGS else "the root"]
        named = set(re.findall(r"`([a-z_]+)/?`", row))
        assert set(parts[1:] if parts[0] in WINGS else parts) & named, f"{'/'.join(parts)} is not on the page"


# ---------------------------------------------------------------------------------- examples that are run


@pytest.mark.slow
def test_notebook_example(tmp_path, monkeypatch, rng):
    """The example of README.md runs, and its scores are those of scipy, one sphere at a time."""
    (example,) = code_blocks(ROOT / "README.md", "python")
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    mask = rng.random((9, 9, 9)) > 0.2
    betas = rng.standard_normal((9, 9, 9, 12)).astype(np.float32)
    names = [f"image{n}" for n in range(1, 13)]
    layers = {"features.3": rng.standard_normal((12, 40)), "classifier.6": rng.standard_normal((12, 10))}
    monkeypatch.chdir(tmp_path)
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), "mask.nii.gz")
    nib.save(nib.Nifti1Image(betas, affine), "betas.nii.gz")
    pd.DataFrame({"condition": names}).to_csv("betas.tsv", sep="\t", index=False)
    np.savez("features.npz", **layers)
    space: dict = {}
    exec(compile(example, "README.md", "exec"), space)
    scores = space["scores"]
    assert scores.values.shape == (2, mask.sum())

    voxels = np.argwhere(mask)
    near = np.linalg.norm((voxels - [4, 4, 4]) * 3.0, axis=1) <= 10
    centre = int(np.flatnonzero((voxels == np.array([4, 4, 4])).all(axis=1) | near)[0])
    members = voxels[np.linalg.norm((voxels - voxels[centre]) * 3.0, axis=1) <= 10]
    brain = pdist(betas[tuple(members.T)].T, "correlation")
    expected = [spearmanr(brain, pdist(layer, "correlation")).statistic for layer in layers.values()]
    np.testing.assert_allclose(scores.values[:, centre], expected, atol=1e-5)
    (written,) = tmp_path.glob("*features3*.nii.gz")
    image = nib.load(written)
    np.testing.assert_array_equal(np.isnan(image.get_fdata())[~mask], True)
    np.testing.assert_allclose(image.get_fdata()[tuple(voxels[centre])], expected[0], atol=1e-5)


@pytest.mark.usefixtures("tables")
def test_extending_example_of_a_distance(rng):
    conformance.extending_example("mean_sqeuclidean")
    conformance.test_distances("mean_sqeuclidean", rng)
    patterns = rng.standard_normal((6, 25))
    found = rdm_vectors(patterns, DISTANCES["mean_sqeuclidean"])
    np.testing.assert_allclose(found, pdist(patterns, "sqeuclidean") / 25, atol=1e-12)


@pytest.mark.usefixtures("tables")
def test_extending_example_of_a_comparison(rng):
    conformance.extending_example("concordance")
    conformance.test_comparisons("concordance", rng)
    a, b = rng.random((2, 10))
    (found,) = compare_vectors(a, b, COMPARISONS["concordance"])[0]
    variance = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    assert found == pytest.approx(2 * np.cov(a, b, ddof=0)[0, 1] / variance)
    assert compare_vectors(a, a + 1, COMPARISONS["concordance"]) < 1


@pytest.mark.usefixtures("tables")
def test_extending_example_of_a_map(rng):
    conformance.extending_example("layer_range")
    conformance.test_maps("layer_range", rng)
    assert MAPS["layer_range"].from_scores(np.array([[0.1], [0.5], [-0.1]])) == pytest.approx([0.6])


@pytest.mark.usefixtures("tables")
def test_extending_example_of_a_group_test(rng):
    conformance.extending_example("median")
    conformance.test_group_tests("median", rng)
    assert GROUP_TESTS["median"].compute(np.array([[1.0], [2.0], [9.0]])) == pytest.approx([2.0])


@pytest.mark.usefixtures("tables")
def test_extending_example_of_a_rule():
    conformance.extending_example("ratio")
    found = references.RULES["ratio"].compute(pd.Series([1.0, 10.0, 100.0]))
    np.testing.assert_allclose(found, np.log([10, 100, 10]))


@pytest.mark.usefixtures("tables")
def test_extending_example_of_a_kind_of_data(tmp_path, rng):
    kind = conformance.extending_example("ZScoredMaps")["Dataset"]
    values = 5 + rng.standard_normal((4, 4, 4, 12))
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "betas.nii.gz")
    table = pd.DataFrame({"condition": list("abcdef") * 2, "run": ["1"] * 6 + ["2"] * 6})
    table.to_csv(tmp_path / "betas.tsv", sep="\t", index=False)
    settings = {"subjects": ["01"], "images": str(tmp_path / "betas.nii.gz"), "table": str(tmp_path / "betas.tsv")}
    dataset = TypeAdapter(kind).validate_python({"kind": "zscored", **settings})
    plain = TypeAdapter(kind).validate_python({"kind": "maps", **settings})
    assert dataset.problems() == []
    patterns = dataset.load("01")
    assert patterns.values.shape == plain.load("01").values.shape == (12, 64)
    np.testing.assert_allclose(patterns.values[6:].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(patterns.values[:6].std(axis=0), 1, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("tables")
def test_extending_example_of_a_model(tmp_path, rng):
    source = conformance.extending_example("class Pixels")["Model"]
    files = [tmp_path / f"{n}.png" for n in range(4)]
    for path in files:
        Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(path)
    pixels = TypeAdapter(source).validate_python({"source": "pixels"})
    assert pixels.problems() == []
    images = pd.DataFrame({"condition": list("abcd"), "file": [str(path) for path in files]})
    extraction.extract(pixels, images, tmp_path / "activations.h5", device="cpu")
    rdms = layer_rdms.layer_rdms(tmp_path / "activations.h5", "correlation")
    assert list(rdms.table["layer"]) == ["pixels"]
    grey = [np.asarray(Image.open(path), dtype=np.float64).ravel() for path in files]
    np.testing.assert_allclose(rdms.values[0], pdist(grey, "correlation"), atol=1e-6)
