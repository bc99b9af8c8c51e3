"""The configuration of a study: the single truth for names, defaults, units and help.

A study is read from YAML, checked as a whole, and frozen. Every mistake that is found is reported at once.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema, model_validator

from rsa.comparisons import COMPARISONS
from rsa.datasets import Dataset
from rsa.distances import DISTANCES
from rsa.errors import UserError, did_you_mean, listed
from rsa.group import GROUP_TESTS
from rsa.maps import MAPS
from rsa.models import Model
from rsa.references import Reference
from rsa.registry import pick
from rsa.settings import DataPath, Label, Section, alternatives
from rsa.stimuli import Stimuli

__all__ = ["PlantedRegion", "Regions", "Searchlight", "Simulation", "Study", "load_study", "read_yaml"]

RESULTS = Path("results")


def _key_of(table: Mapping[str, Any], kind: str) -> AfterValidator:
    """Accept the keys of an extension table."""

    def known(name: str) -> str:
        try:
            pick(table, name, kind)
        except UserError as error:
            raise ValueError(str(error)) from error
        return name

    return AfterValidator(known)


def _enum(table: Mapping[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(table)})


DistanceName = Annotated[str, _key_of(DISTANCES, "distance"), _enum(DISTANCES)]
ComparisonName = Annotated[str, _key_of(COMPARISONS, "comparison"), _enum(COMPARISONS)]
MapName = Annotated[str, _key_of(MAPS, "map"), _enum(MAPS)]
GroupTestName = Annotated[str, _key_of(GROUP_TESTS, "group test"), _enum(GROUP_TESTS)]


class Searchlight(Section):
    """Spheres around the voxels of the mask."""

    radius_mm: float = Field(10.0, gt=0)
    """Radius of the spheres in mm, from voxel centre to voxel centre, inclusive."""
    min_voxels: int = Field(20, ge=2)
    """Spheres with fewer usable voxels have no score."""
    stride: int = Field(1, ge=1)
    """Take only every n-th voxel in each direction as a centre."""


class Regions(Section):
    """Regions of interest: an atlas, or one mask image per region."""

    atlas: DataPath | None = None
    """Image of whole numbers on the grid of the brain images; may contain {subject}."""
    labels: DataPath | None = None
    """Table with the columns that the next two keys name; without it, numbers are the names."""
    index_column: str = "index"
    """Column of `labels` with the numbers in the atlas."""
    name_column: str = "region"
    """Column of `labels` with the names; numbers of one name form one region."""
    keep: tuple[str, ...] = ()
    """Names of the regions that are analysed; all if empty."""
    masks: dict[str, DataPath] = Field(default_factory=dict)
    """Instead of an atlas: a mask image for each region, by name; may contain {subject}."""
    resample: bool = False
    """Bring an atlas or mask on another grid to the brain images (nearest neighbour); otherwise that is an error."""

    @model_validator(mode="after")
    def _atlas_or_masks(self) -> "Regions":
        if (self.atlas is None) == (not self.masks):
            raise ValueError("regions are given either by `atlas` or by `masks`")
        return self


class PlantedRegion(Section):
    """Where a simulation puts the patterns of a layer."""

    name: str
    """What the region is called."""
    model: Label
    """Label of the model."""
    layer: str
    """Name of the layer whose RDM the patterns have."""
    centres_mm: tuple[tuple[float, float, float], ...] = ()
    """Centres of spheres, in mm."""
    radius_mm: float = Field(14.0, gt=0)
    """Radius of these spheres."""
    atlas_indices: tuple[int, ...] = ()
    """Or: numbers of regions in the `atlas` of the simulation."""

    @model_validator(mode="after")
    def _somewhere(self) -> "PlantedRegion":
        if bool(self.centres_mm) == bool(self.atlas_indices):
            raise ValueError(f"the planted region {self.name!r} needs either `centres_mm` or `atlas_indices`")
        return self


class Simulation(Section):
    """Make the stimuli or the brain images of the study, in the files that `stimuli` and `brain` name."""

    seed: int = 0
    """Seed of everything that is random."""
    images_per_category: int = Field(0, ge=0)
    """Draw so many pictures of each of 6 categories; 0: the stimuli are real."""
    mask: DataPath | None = None
    """Mask image that gives the grid; without one, the MNI152 brain at `voxel_size_mm`."""
    voxel_size_mm: int = Field(4, ge=2, le=10)
    """Voxel size of the MNI152 grid."""
    atlas: DataPath | None = None
    """Image of whole numbers on the grid of `mask`."""
    noise_images: DataPath | None = None
    """A BOLD run on the grid of `mask` whose residuals give the noise; without one, it is Gaussian."""
    noise_events: DataPath | None = None
    """BIDS events of that run; their effects are taken out first."""
    noise_condition_column: str = "trial_type"
    """Column of the events that names what was shown; rows without a value (n/a) are rest."""
    noise_fwhm_mm: float = Field(8.0, ge=0)
    """Smoothness of Gaussian noise."""
    signal: float = Field(1.0, ge=0)
    """Standard deviation of the planted patterns, in units of that of the noise of one run; 0: nothing is there."""
    regions: tuple[PlantedRegion, ...] = ()
    """Which layer is planted where."""


class Study(Section):
    """Everything that decides what a study computes."""

    study: Label
    """Name of the study; its results go to results/<study>/."""
    data_root: str = "."
    """Folder at which the relative paths below start."""
    simulate: Simulation | None = None
    """Make the data instead of reading yours."""
    stimuli: Stimuli | None = None
    """The pictures and what is known of them."""
    models: tuple[Model, ...] = ()
    """The networks whose layers are compared with the brain."""
    references: tuple[Reference, ...] = ()
    """Other RDMs to compare with: files, or columns of the stimulus table."""
    brain: Dataset
    """The brain data."""
    searchlight: Searchlight | None = None
    """Whole-brain analysis; leave it out for none."""
    regions: Regions | None = None
    """Region-of-interest analysis; leave it out for none."""
    keep_activations: bool = False
    """Keep the responses of the layers to every image; they are large, and only needed until their RDMs are built."""
    layer_distance: DistanceName = "correlation"
    """How dissimilar two images are in a layer."""
    brain_distance: DistanceName = "correlation"
    """How dissimilar two patterns are in the brain."""
    comparison: ComparisonName = "spearman"
    """How alike two RDMs are."""
    maps: tuple[MapName, ...] = tuple(MAPS)
    """Maps made of the maps of all layers of a model."""
    group: tuple[GroupTestName, ...] = ()
    """Maps of the group; the subjects must be on one grid."""

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return RESULTS / self.study


# --------------------------------------------------------------------------------------------- reading


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file as a mapping.

    Raises
    ------
    UserError
        If there is no such file or it is not a YAML mapping.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read the configuration {path}: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} should hold settings like 'study: demo', one per line.")
    return content


def load_study(raw: Mapping[str, Any]) -> Study:
    """Check the form of a configuration: keys, types, names and ranges.

    What needs the files themselves is checked by `rsa.checks.problems_of`.

    Raises
    ------
    UserError
        Naming everything that is wrong, one line each.
    """
    context = {"data_root": raw.get("data_root", "."), "results": RESULTS / str(raw.get("study", ""))}
    try:
        return Study.model_validate(raw, context=context)
    except ValidationError as error:
        raise UserError(problem_list([_problem(dict(one)) for one in error.errors()])) from error


def problem_list(problems: list[str]) -> str:
    """Join the problems of a configuration to one message."""
    if len(problems) == 1:
        return f"The configuration has a problem: {problems[0]}"
    return "\n  - ".join([f"The configuration has {len(problems)} problems:", *problems])


def _problem(error: dict[str, Any]) -> str:
    """Say in our words what pydantic found."""
    place = error["loc"]
    name = ".".join(str(part) for part in _as_written(place))
    if error["type"] == "extra_forbidden":
        keys = _keys_at(place[:-1])
        return f"unknown key {name!r}.{did_you_mean(str(place[-1]), keys)} Known here: {listed(keys, 30)}."
    if error["type"] == "missing":
        return f"the key {name!r} is missing."
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    came = error["input"]
    is_told = isinstance(came, str) and repr(came) in message
    shown = f" (it is {came!r})" if isinstance(came, str | int | float | None) and not is_told else ""
    return f"{name or 'configuration'}: {message[:1].lower() + message[1:]}{shown}".rstrip(".") + "."


def _as_written(place: tuple[Any, ...]) -> Iterator[Any]:
    """Leave out of a place the tags by which pydantic tells the kinds of a section apart."""
    here: Any = Study
    for part in place:
        inside = _inside(here, part)
        if not (isinstance(part, str) and part not in _fields(here) and inside is not here and _is_tag(here, part)):
            yield part
        here = inside


def _keys_at(place: tuple[Any, ...]) -> list[str]:
    """Return the keys that are known at a place of the configuration."""
    here: Any = Study
    for part in place:
        here = _inside(here, part)
    return list(_fields(here))


def _inside(here: Any, part: Any) -> Any:
    """Step from a type into its field, its item, or the kind of section with that tag."""
    if part in _fields(here):
        return _fields(here)[part].annotation
    for kind in alternatives(here):
        if isinstance(part, str) and _is_tag(kind, part):
            return kind
        if part in _fields(kind):
            return kind.model_fields[part].annotation
    items = [kind for kind in alternatives(here) if get_origin(kind) in (tuple, dict)]
    return get_args(items[0])[-1 if get_origin(items[0]) is dict else 0] if items else here


def _fields(annotation: Any) -> dict[str, Any]:
    """Return the fields of a section, or of an optional one."""
    sections = [kind for kind in alternatives(annotation) if kind is not type(None)]
    return dict(getattr(sections[0], "model_fields", {})) if len(sections) == 1 else {}


def _is_tag(annotation: Any, part: str) -> bool:
    """Say whether a section's `kind` or `source` is this tag."""
    for kind in alternatives(annotation):
        fields = _fields(kind)
        if any(name in fields and part in get_args(fields[name].annotation) for name in ("kind", "source")):
            return True
    return False
