"""For people: the page in which the brain of a study can be clicked."""

from pathlib import Path

from rsa.core import on_voxels
from rsa.files import io
from rsa.files.stored import stored_scores
from rsa.maps import stack
from rsa.pipeline.config import Study
from rsa.report.explorer import GROUP, Explorer, Maps, stacked_references, stimuli_of

__all__ = ["explore"]

OTHER_SPACE = "the maps were brought to a template, and patterns are in the space of each subject"


def explore(
    study: Path,
    scores: list[Path],
    output: Path,
    group: list[Path] | None = None,
    inference: list[Path] | None = None,
    brain: list[Path] | None = None,
    references: list[Path] | None = None,
    anatomy: list[Path] | None = None,
) -> None:
    """Write the brain explorer: a page with the maps of all subjects and the group, and files beside it.

    Parameters
    ----------
    study : path
        Settings (JSON).
    scores : list of path
        Scores of all subjects, in the space of the group, of all analyses (HDF5).
    output : path
        The folder that is written.
    group : list of path
        Scores of the group, of all analyses (HDF5).
    inference : list of path
        p values of the scores of single subjects, of all analyses (HDF5).
    brain : list of path
        Patterns of all subjects (HDF5).
    references : list of path
        RDMs with which those of spheres are compared (HDF5).
    anatomy : list of path
        Anatomical image behind the maps of each subject; if all have the same, of the group as well.
    """
    settings = Study.model_validate_json(study.read_text(encoding="utf-8"))
    tests = {_whose(path): path for path in inference or []}
    maps = [*(_maps(path, GROUP) for path in group or []), *(_tested(path, tests) for path in scores)]
    template = settings.template
    regions = settings.regions if template is None else None
    subjects = dict(zip(settings.subjects, brain or [], strict=True)) if brain and template is None else {}
    behind = dict(zip(settings.subjects, anatomy or [], strict=True)) if anatomy and template is None else {}
    if len(set(behind.values())) == 1:
        behind[GROUP] = behind[settings.subjects[0]]
    Explorer(
        settings.study,
        output.parent,
        getattr(template or settings.brain, "space", ""),
        sorted(maps, key=lambda one: bool(one.part)),
        brain=subjects,
        references=stacked_references([io.load_rdms(path) for path in references or []]),
        stimuli=stimuli_of(settings.stimuli),
        regions=None if regions is None or regions.of_subjects else regions,
        derived=settings.maps,
        patterns_note=OTHER_SPACE if template is not None else "",
        simulated=settings.simulate is not None,
        anatomy=behind,
    ).write(output)


def _maps(path: Path, who: str) -> Maps:
    settings = io.read_provenance(path)["settings"]
    return Maps(who, _part(settings), io.load_scores(path), settings)


def _part(settings: dict[str, object]) -> str:
    """Return the name of the analysis by which scores were made."""
    analysis = settings.get("analysis")
    return str(analysis["name"]) if isinstance(analysis, dict) else ""


def _whose(path: Path) -> tuple[str, str]:
    """Return the analysis and the subject of p values."""
    return _part(io.read_provenance(path)["settings"]), str(io.load_row_table(path)["subject"].iloc[0])


def _tested(path: Path, tests: dict[tuple[str, str], Path]) -> Maps:
    """Return the scores of a subject, and below them the results of their tests, if they are on the same grid.

    Scores without tests stay in their file, from which the explorer reads some at a time.
    """
    stored, settings = stored_scores(path), io.read_provenance(path)["settings"]
    who, part = str(stored.table["subject"].iloc[0]), _part(settings)
    found = tests.get((part, who))
    if found is None or stored.volume is None:
        return Maps(who, part, stored, settings)
    tested = io.load_scores(found)
    if tested.volume is None or not tested.volume.same_grid(stored.volume.shape, stored.volume.affine):
        return Maps(who, part, stored, settings)
    both = stack([stored.load(), on_voxels(tested, stored.volume)])
    return Maps(who, part, both, {**settings, **io.read_provenance(found)["settings"]})
