"""Measure the pages of a study with many subjects: copies of those of a study that was run."""

import argparse
import json
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from rsa.files import io
from rsa.pipeline.config import Study
from rsa.report.assemble import StudyPages


def main() -> None:
    """Make the pages, and print how long that took and how large they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="the folder of a study with a searchlight: results/demo")
    parser.add_argument("--subjects", type=int, default=20, help="how many (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        pages = many_subjects(options.results, Path(name) / "study", options.subjects)
        start = perf_counter()
        made = pages.html()
        seconds = perf_counter() - start
    print(f"{options.subjects} subjects: {len(made)} pages in {seconds:.1f} s")
    largest = sorted(made.items(), key=lambda one: -len(one[1]))[:6]
    for at, html in (*largest, ("report.html", made["report.html"])):
        print(f"{at:30s} {len(html.encode()) / 1e6:8.2f} MB")


def many_subjects(results: Path, folder: Path, n_subjects: int) -> StudyPages:
    """Copy a study, with the files of its subjects again and again under other labels."""
    settings = json.loads((results / "study.json").read_text(encoding="utf-8"))
    there = settings["brain"]["subjects"]
    shutil.copytree(results, folder, ignore=shutil.ignore_patterns(".checksums", "explorer", "simulated", "pages"))
    labels = [*there, *(f"copy{i:02d}" for i in range(len(there), n_subjects))]
    for i, label in enumerate(labels[len(there) :]):
        source = there[i % len(there)]
        for path in (results / f"sub-{source}", results / "figures" / f"sub-{source}"):
            for file in path.iterdir():
                if file.is_file():
                    copy = folder / path.relative_to(results).with_name(f"sub-{label}") / file.name
                    copy = copy.with_name(re.sub(f"^sub-{source}_", f"sub-{label}_", copy.name))
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, copy)
        made = io.load_scores(results / "scores" / f"sub-{source}_scores.h5")
        made = replace(made, table=made.table.assign(subject=label))
        io.save(folder / "scores" / f"sub-{label}_scores.h5", made, {})
    settings["brain"]["subjects"] = labels
    movies = sorted((folder / "meeg").glob("sub-*_movie.h5"))
    return StudyPages(
        Study.model_validate(settings),
        folder,
        [*sorted((folder / "models").glob("*_rdms.h5")), *sorted((folder / "references").glob("*_rdms.h5"))],
        scores=[folder / "scores" / f"sub-{label}_scores.h5" for label in labels],
        fits=folder / "regions.tsv" if (folder / "regions.tsv").is_file() else None,
        movies=movies,
        time=folder / "time" if (folder / "time").is_dir() else None,
    )


if __name__ == "__main__":
    main()
