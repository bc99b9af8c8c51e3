"""Tables and a figure from the results of the benchmarks."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from peers import PEERS
from studies import GROWTH, WORKLOADS

RANK_SECONDS = 3.1e-9
"""What the fastest exact ranking that we know takes for a value on one core: two counting passes, hand-written for
AVX-512 in C++."""

FIGURE = "performance_growth.png"


def in_short(found: dict) -> str:
    """Return the numbers of one measurement on one line."""
    shown = {key: f"{value:.4g}" for key, value in found.items() if isinstance(value, int | float)}
    words = {key: found[key] for key in ("missing", "failed", "version") if key in found}
    return ", ".join(f"{key} {value}" for key, value in (shown | words).items())


def write(path: Path, results: dict) -> None:
    """Replace what stands between the marks of a page, and the figure in the folder `images` beside it."""
    text = path.read_text(encoding="utf-8")
    tables = {"system": system, "workloads": workloads, "ours": ours, "peers": peers, "start": start}
    for name, table in tables.items():
        text = between_marks(text, name, table(results))
    path.write_text(text, encoding="utf-8")
    if any(name.split()[0] in GROWTH for name in results["measured"]):
        draw_growth(results, path.parent / "images" / FIGURE)


def between_marks(text: str, name: str, new: str) -> str:
    """Replace the text between two marks."""
    marks = re.compile(rf"(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)", flags=re.S)
    if not marks.search(text):
        raise ValueError(f"The page has no marks for {name}.")
    return marks.sub(lambda found: f"{found[1]}{new}\n{found[2]}", text)


def floor_seconds(found: dict, results: dict) -> float:
    """Return the time that a workload would take at the speed of matrix products and of the fastest ranking."""
    machine = results["measured"]["machine"]
    return (
        found["gram_operations"] / machine["float64_speed"]
        + found["score_operations"] / machine["float32_speed"]
        + found["n_values"] * RANK_SECONDS / results["options"]["n_threads"]
    )


# --------------------------------------------------------------------------------------------- tables


def system(results: dict) -> str:
    """Say what was measured on."""
    about, options, machine = results["system"], results["options"], results["measured"]["machine"]
    when = sorted(found["when"][:10] for found in results["measured"].values())
    lines = [
        f"* {about['processor']}, {about['cores']} cores; {options['n_threads']} threads or processes for every engine",
        f"* matrix products at {machine['float64_speed'] / 1e9:.0f} GFLOP/s in float64 and "
        f"{machine['float32_speed'] / 1e9:.0f} in float32, on these threads",
        f"* brain-model-rsa {about['brain-model-rsa']}, Python {about['python']}, numpy {about['numpy']}, "
        f"scipy {about['scipy']}, numba {about['numba']}",
        f"* measured {' to '.join(dict.fromkeys([when[0], when[-1]]))}",
    ]
    if options["offset"]:
        lines.append(f"* all patterns with an offset of {options['offset']:g} standard deviations of the noise")
    if options["scale"] != 1:
        lines.append(f"* **a trial on {options['scale']:.1%} of the volume; its times are not those of whole brains**")
    return "\n".join(lines)


def workloads(results: dict) -> str:
    """List the sizes of the workloads."""
    rows = []
    for name, one in WORKLOADS.items():
        found = results["measured"].get(f"{name} | ours", {})
        centres = f"{found['n_centres']:,}" if "n_centres" in found else ""
        what = f"{one.n_references:,}" + (f", {one.n_permutations:,} permutations" if one.n_permutations else "")
        distance = one.distance + (f", {one.n_runs} runs" if one.n_runs > 1 else "")
        rows.append([name, f"{one.n_conditions:,}", f"{one.resolution_mm} mm", f"{one.radius_mm} mm", centres, what])
        rows[-1].append(distance)
    return table(["", "conditions", "voxels", "radius", "centres", "references", "distance"], rows)


def ours(results: dict) -> str:
    """List what our engine takes."""
    rows = []
    for name in WORKLOADS:
        found = results["measured"].get(f"{name} | ours")
        if found is None:
            continue
        if "failed" in found:
            rows.append([name, found["failed"]] + [""] * 6)
            continue
        least = floor_seconds(found, results)
        memory = f"{megabytes(found['bytes'])} ({megabytes(found['bytes_before'])})"
        check = f"{found['error']:.0e} ({found['n_checked']:,})"
        times = [seconds(found[key]) for key in ("seconds", "median_seconds")]
        rows.append([name, *times, seconds(least), f"{least / found['seconds']:.0%}", memory, check])
        rows[-1].append(f"made in {seconds(found['neighbourhood_seconds'])}")
    heads = [
        "",
        "best",
        "median",
        "floor",
        "floor / best",
        "peak memory (before)",
        "largest error (centres)",
        "spheres",
    ]
    return table(heads, rows)


def peers(results: dict) -> str:
    """Compare the engines, workload by workload."""
    rows = []
    measured = results["measured"]
    for workload in WORKLOADS:
        mine = measured.get(f"{workload} | ours", {})
        if "seconds" in mine:
            rows.append([workload, "this one", seconds(mine["seconds"]), "1", megabytes(mine["bytes"]), "all", ""])
        for name, peer in PEERS.items():
            found = measured.get(f"{workload} | {name}")
            if found is None:
                continue
            what = f"{peer.package}, {peer.what}"
            if "seconds" not in found:
                rows.append([workload, what, found.get("missing") or f"failed: {found['failed']}"] + [""] * 4)
                continue
            ratio = f"{found['seconds'] / mine['seconds']:,.0f}" if "seconds" in mine else ""
            whole = found["n_measured"] == found["n_centres"]
            memory = megabytes(max(found["bytes"], found.get("rdm_bytes", 0)))
            memory = memory if whole else f"> {memory}"
            centres = "all" if whole else f"{found['n_measured']:,}"
            difference = f"{found['difference']:.0e}" if "difference" in found else ""
            named = f"{peer.package} {found['version']}, {peer.what}"
            rows.append([workload, named, seconds(found["seconds"]), ratio, memory, centres, difference])
    heads = ["", "engine", "time", "times ours", "peak memory", "centres measured", "largest difference from ours"]
    return table(heads, rows)


def start(results: dict) -> str:
    """Tell what comes before the first score."""
    rows = []
    for name, what in (("cold", "nothing compiled yet"), ("cached", "compiled code found on disk")):
        found = results["measured"].get(f"start {name}")
        if found is not None and "failed" not in found:
            rows.append([what, *(seconds(found[key]) for key in ("import_seconds", "first_seconds", "again_seconds"))])
    return table(["", "imports and a study of a few voxels", "first call", "second call"], rows)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def seconds(value: float) -> str:
    """Write a duration with two digits or three."""
    if value < 0.1:
        return f"{1000 * value:.2g} ms"
    if value < 10:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    return f"{value:,.0f} s" if value < 600 else f"{value / 60:,.0f} min"


def megabytes(value: float) -> str:
    """Write a size in MB or GB, powers of ten."""
    return f"{value / 1e6:,.0f} MB" if value < 1e9 else f"{value / 1e9:.1f} GB"


# --------------------------------------------------------------------------------------------- figure


AXES = {
    "conditions": "conditions",
    "voxels": "voxels (= centres)",
    "references": "references",
}
AT = {"conditions": ["A"], "voxels": ["A"], "references": ["A", "A-time"]}
"""Workloads that differ from the growing ones in nothing else, so that peers measured on them can be drawn beside."""


def draw_growth(results: dict, path: Path) -> None:
    """Draw seconds and memory against the three sizes."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    figure, panels = plt.subplots(2, 3, figsize=(8, 4.8), sharey="row", layout="constrained")
    for column, what in enumerate(GROWTH):
        for row, (key, unit) in enumerate((("seconds", 1.0), ("bytes", 1e9))):
            panel = panels[row, column]
            draw_engine(panel, results, what, "ours", key, unit)
            for peer in PEERS:
                draw_engine(panel, results, what, peer, key, unit)
            panel.set_xscale("log")
            panel.set_yscale("log")
            ticks = [size for size, _ in points(results, what, "ours", key)]
            panel.set_xticks(ticks, [short(tick) for tick in ticks])
            panel.minorticks_off()
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if row else (1,)))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.grid(alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
            panel.set_xlabel(AXES[what] if row else "")
    panels[0, 0].set_ylabel("seconds")
    panels[1, 0].set_ylabel("peak memory, GB")
    handles, labels = panels[0, 2].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_engine(panel: object, results: dict, what: str, engine: str, key: str, unit: float) -> None:
    found = points(results, what, engine, key)
    mine = engine == "ours"
    style = {"color": "black", "marker": "o", "linewidth": 1.5} if mine else {"marker": "x", "linestyle": "none"}
    if not mine:
        style["color"] = f"C{list(PEERS).index(engine)}"
    sizes, values = np.array(found, dtype=float).reshape(-1, 2).T
    panel.plot(sizes, values / unit, label="this one" if mine else engine, markersize=4, **style)


def points(results: dict, what: str, engine: str, key: str) -> list[tuple[int, float]]:
    """Collect the sizes and the values that one engine was measured at; memory only where all centres were run."""
    names = [f"{what} {size}" for size in GROWTH[what]] if engine == "ours" else AT[what]
    found = []
    for name in names:
        one = results["measured"].get(f"{name} | {engine}", {})
        mine = results["measured"].get(f"{name} | ours", {})
        part = one.get("n_measured", 0) < one.get("n_centres", 0) and engine != "ours"
        if key in one and "workload" in mine and not (key == "bytes" and part):
            sizes = mine["workload"] | {"n_voxels": mine["n_centres"]}
            found.append((sizes[f"n_{what}"], one[key]))
    return sorted(found)


def short(number: int) -> str:
    """Write a count in few signs."""
    return f"{number / 1000:.0f}k" if number >= 10_000 else f"{number:,}"
