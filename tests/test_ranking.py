"""A ranking is fair: layers are chosen where they are not scored, whatever their number."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracles
import pandas as pd
import pytest
import yaml

from rsa.core import RDMs
from rsa.errors import UserError
from rsa.files import io
from rsa.inference import ranking
from rsa.inference.ranking import (
    PAIR_COLUMNS,
    RANKING_COLUMNS,
    compared_pairs,
    cross_validated,
    error_of_mean,
    halves_of,
    interval_of_mean,
    mean_interval,
    ranked,
    resampled_scores,
)
from rsa.pipeline import stages
from rsa.pipeline.cli import main
from rsa.pipeline.config import Ranking
from rsa.report.dots import ranking_dots, ranking_figures
from rsa.report.ranks import forward_times, ranking_table, unbroken, written_table
from rsa.report.style import PAGE, caption_of

N, N_SUBJECTS = 12, 5
NAMES = [f"img{number}" for number in range(N)]


def stack(values, labels, names=NAMES):
    return RDMs(np.asarray(values), names, pd.DataFrame(labels))


def random_rdms(rng, n_rdms, n=N):
    """RDMs of random patterns, which have the structure that distances have."""
    patterns = rng.standard_normal((n_rdms, n, 8))
    upper = np.triu_indices(n, 1)
    return np.array([np.linalg.norm(one[upper[0]] - one[upper[1]], axis=1) for one in patterns])


def of_subjects(values, regions=("IT",), names=NAMES):
    subjects = [f"{number:02d}" for number in range(len(values) // len(regions))]
    return stack(
        values, [{"subject": subject, "region": region} for region in regions for subject in subjects], names=names
    )


def layers_of(model, values, names=NAMES):
    layers = [f"layer{number}" for number in range(len(values))] if len(values) > 1 else [""]
    return stack(values, [{"model": model, "layer": layer} for layer in layers], names=names)


def joined(*stacks):
    table = pd.concat([one.table for one in stacks], ignore_index=True)
    return RDMs(np.concatenate([one.values for one in stacks]), stacks[0].conditions, table)


@pytest.fixture
def brain(rng):
    """Two regions of 5 subjects who share something with a layer of the network."""
    shared = random_rdms(rng, 1)
    return of_subjects(random_rdms(rng, 2 * N_SUBJECTS) + 0.7 * shared, ("EVC", "IT"))


@pytest.fixture
def references(rng):
    return joined(layers_of("net", random_rdms(rng, 4)), layers_of("pixels", random_rdms(rng, 1)))


# --------------------------------------------------------------------------------------------- the numbers


def test_scores_are_those_of_loops(brain, references):
    found = ranked(brain, references, n_splits=3, seed=4)
    halves, squares = halves_of(N, 3, 4), references.squares
    names = sorted(NAMES)
    order = [NAMES.index(name) for name in names]
    for region in ("EVC", "IT"):
        own = brain.subset((brain.table["region"] == region).to_numpy()).squares[:, order][:, :, order]
        for model in ("net", "pixels"):
            layers = squares[(references.table["model"] == model).to_numpy()][:, order][:, :, order]
            expected = oracles.ranking_scores(own, layers, halves)
            is_it = (found.scores["region"] == region) & (found.scores["model"] == model)
            np.testing.assert_allclose(found.scores.loc[is_it, "score"], expected, atol=1e-12)
            row = found.table[(found.table["region"] == region) & (found.table["model"] == model)].iloc[0]
            assert row["score"] == pytest.approx(expected.mean(), abs=1e-12)
        bounds = np.mean(
            [oracles.noise_ceiling(own[:, half][:, :, half][:, *np.triu_indices(N // 2, 1)]) for half in halves], axis=0
        )
        np.testing.assert_allclose(row[["ceiling_lower", "ceiling_upper"]].to_numpy(dtype=float), bounds, atol=1e-12)


def test_table_has_an_order_and_each_column_is_described(brain, references):
    table = ranked(brain, references, n_splits=2).table
    assert list(table) == [name for name in RANKING_COLUMNS if name != "n_parameters"]
    assert table.groupby("region")["rank"].apply(list).to_dict() == {"EVC": [1, 2], "IT": [1, 2]}
    assert (table.groupby("region")["score"].diff().dropna() <= 0).all()
    assert set(table["n_layers"]) == {4, 1}
    assert (table["layer_share"][table["model"] == "pixels"] == 1).all()
    assert ((table["lower"] < table["score"]) & (table["score"] < table["upper"])).all()


def test_the_score_with_all_conditions_is_the_highest_mean_of_a_layer(brain, references):
    row = ranked(brain, references, n_splits=2).table.set_index(["region", "model"]).loc[("IT", "net")]
    own = brain.values[(brain.table["region"] == "IT").to_numpy()]
    scores = [[oracles.by_spearman(one, layer) for one in own] for layer in references.values[:4]]
    assert row["score_not_cross_validated"] == pytest.approx(np.mean(scores, axis=1).max(), abs=1e-12)


def test_one_subject_chooses_on_the_other_half(rng):
    brain, layers = of_subjects(random_rdms(rng, 1)), layers_of("net", random_rdms(rng, 5))
    found, names = ranked(brain, layers, n_splits=4), sorted(NAMES)
    squares = [rdms.reordered(names).squares for rdms in (brain, layers)]
    expected = oracles.ranking_scores(*squares, halves_of(N, 4, 0))
    np.testing.assert_allclose(found.scores["score"], expected, atol=1e-12)
    assert found.table[["lower", "upper", "ceiling_lower", "share_of_ceiling"]].isna().all(axis=None)


def test_order_of_conditions_and_of_subjects_changes_nothing(brain, references, rng):
    once = ranked(brain, references, n_splits=3)
    mixed = brain.reordered(list(rng.permutation(NAMES))).subset(np.arange(len(brain))[::-1])
    again = ranked(mixed, references.reordered(NAMES[::-1]), n_splits=3)
    keys = ["region", "model"]
    one, other = (found.table.sort_values(keys).reset_index(drop=True) for found in (once, again))
    pd.testing.assert_frame_equal(one, other, rtol=1e-12)


def test_references_of_subjects_are_their_own(brain, references, rng):
    own = random_rdms(rng, N_SUBJECTS)
    subjects = sorted(set(brain.table["subject"]))
    table = pd.DataFrame({"model": "times", "layer": "", "subject": subjects})
    of_all = replace(references, table=references.table.assign(subject=""))
    found = ranked(brain, joined(of_all, RDMs(own, NAMES, table)), n_splits=3)
    assert set(found.table["model"]) == {"net", "pixels", "times"}
    for number, subject in enumerate(subjects):
        of_subject = ranked(brain, layers_of("times", own[[number]]), n_splits=3).scores
        expected = of_subject.loc[of_subject["subject"] == subject, "score"]
        scores = found.scores.loc[(found.scores["subject"] == subject) & (found.scores["model"] == "times"), "score"]
        np.testing.assert_allclose(scores, expected, atol=1e-12)


def test_halves_are_two_of_each_split():
    halves = halves_of(7, 30, 1)
    assert halves.shape == (60, 7)
    assert (halves[::2] ^ halves[1::2]).all()
    assert set(halves[::2].sum(axis=1)) == {3}
    assert len({tuple(row) for row in halves[::2]}) > 15
    assert (halves == halves_of(7, 30, 1)).all()
    assert (halves != halves_of(7, 30, 2)).any()


# ----------------------------------------------------------------------------------- what cannot be scored


def test_layers_and_subjects_without_a_score_are_left_out_and_told(brain, references):
    layers, subjects = references.values.copy(), brain.values.copy()
    layers[1, 3], layers[2] = np.nan, 0.5
    subjects[(brain.table["region"] == "IT").to_numpy().nonzero()[0][0]] = 1.0
    table = ranked(replace(brain, values=subjects), replace(references, values=layers), n_splits=2).table
    rows = table.set_index(["region", "model"])
    assert (
        rows.loc[("IT", "net"), "left_out"] == "the RDM of 'layer1' has gaps; the RDM of 'layer2' is constant; "
        "subject 00: its RDM is constant"
    )
    assert rows.loc[("EVC", "pixels"), "left_out"] == ""
    assert rows.loc[("IT", "net"), ["n_layers", "n_subjects"]].tolist() == [2, 4]
    assert np.isfinite(rows["score"].to_numpy(dtype=float)).all()


def test_a_model_without_any_score_is_last(brain, references):
    values = references.values.copy()
    values[4] = 2.0
    table = ranked(brain, replace(references, values=values), n_splits=2).table
    last = table[table["region"] == "IT"].iloc[-1]
    assert (last["model"], last["left_out"], last["n_layers"]) == ("pixels", "its RDM is constant", 0)
    assert pd.isna(last["rank"])
    assert pd.isna(last["score"])


def test_a_layer_that_is_constant_on_a_half_is_not_chosen_there(brain):
    """Conditions of one category have no distances among each other."""
    halves = halves_of(N, 2, 0)
    square = np.ones((N, N))
    square[np.ix_(halves[0], halves[0])] = 0
    names = sorted(NAMES)
    layer = RDMs(square[np.triu_indices(N, 1)][None], names, pd.DataFrame({"model": ["one"], "layer": [""]}))
    row = ranked(brain, layer, n_splits=2).table.iloc[0]
    assert row["left_out"] == "2 of 4 halves, on which its RDM is constant"
    assert np.isfinite(row["score"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rdms: replace(rdms, table=rdms.table.drop(columns="region")), "no column"),
        (lambda rdms: replace(rdms, table=rdms.table.assign(subject="01")), "comes twice in the table of RDMs of reg"),
        (lambda rdms: replace(rdms, table=rdms.table.assign(time_s=0.1)), "these are at several times"),
        (lambda rdms: rdms.reordered(NAMES[:5]), "6 conditions or more, not 5"),
    ],
)
def test_mistakes_are_told(brain, references, change, message):
    changed = change(brain)
    with pytest.raises(UserError, match=message):
        ranked(changed, references.reordered(changed.conditions))


# ------------------------------------------------------------------------------------------------- fairness


def test_the_number_of_layers_gives_no_advantage(rng):
    """On noise, scores are 0 within their standard error; chosen and scored on the same data, they grow with layers."""
    sizes, n_studies = (1, 5, 40), 60
    scores = {size: np.empty((n_studies, 2)) for size in sizes}
    for study in range(n_studies):
        brain = of_subjects(random_rdms(rng, 4))
        for size in sizes:
            row = ranked(
                brain, layers_of("net", random_rdms(rng, size)), n_splits=2, seed=study, n_bootstrap=2
            ).table.iloc[0]
            scores[size][study] = row["score"], row["score_not_cross_validated"]
    z = {size: found.mean(axis=0) / (found.std(axis=0, ddof=1) / np.sqrt(n_studies)) for size, found in scores.items()}
    assert max(abs(z[size][0]) for size in sizes) < 3
    assert z[5][1] > 5
    assert scores[40][:, 1].mean() > scores[5][:, 1].mean() > 0.05


def test_intervals_hold_the_truth_as_often_as_they_say(rng):
    """Subjects are drawn from a population whose mean score is known from very many of them."""
    shared, layers = random_rdms(rng, 1), random_rdms(rng, 3)
    layers[1] = layers[1] + shared
    net = layers_of("net", layers)

    def row_of(n_subjects):
        brain = of_subjects(random_rdms(rng, n_subjects) + 0.8 * shared)
        return ranked(brain, net, n_splits=2, n_bootstrap=100).table.iloc[0]

    found = pd.DataFrame([row_of(8) for _ in range(120)])
    truth = found["score"].iloc[:60].mean()
    held = ((found["lower"] <= truth) & (truth <= found["upper"])).iloc[60:].mean()
    assert truth > 0.1
    assert 0.88 <= held <= 1


def test_samples_of_subjects_choose_anew(rng):
    """In loops: the others of a sample choose, as often as each is in it; who is alone chooses for itself."""
    scores = rng.standard_normal((4, 3, 5))
    weights = np.array([[1.0, 1, 1], [2, 0, 1], [0, 3, 0]])
    expected = []
    for weight in weights:
        total = 0.0
        for subject in range(3):
            others = [one for one in range(3) if one != subject and weight[one]] or [subject]
            votes = np.array([weight[one] if weight[one] else 1.0 for one in others])
            for half in range(4):
                layer = np.average(scores[half, others], axis=0, weights=votes).argmax()
                total += weight[subject] * scores[half ^ 1, subject, layer] / 4
        expected.append(total / weight.sum())
    np.testing.assert_allclose(resampled_scores(scores, weights), expected)
    assert resampled_scores(scores, weights)[0] == pytest.approx(cross_validated(scores)[0].mean())


def test_the_error_of_a_mean_is_no_smaller_than_that_of_the_subjects(rng):
    values, samples = rng.standard_normal(6), np.array([-1.0, 1.0] * 50)
    own = values.std(ddof=1) / np.sqrt(6)
    assert error_of_mean(values, np.full(50, 0.3)) == pytest.approx(own)
    assert error_of_mean(values, samples) == pytest.approx(samples.std(ddof=1) * np.sqrt(6 / 5))
    assert interval_of_mean(values, np.full(50, 0.3), 0.9) == pytest.approx(mean_interval(values, 0.9))


def test_what_is_peculiar_to_a_subject_chooses_no_layer_for_it():
    """The layer that is like one subject alone is chosen for it only if it chooses for itself."""
    scores = np.zeros((2, 3, 2))
    scores[:, 0] = 0.9, 0.1
    scores[:, 1:] = 0.1, 0.5
    own, chosen = cross_validated(scores)
    assert chosen.tolist() == [[1, 0, 0], [1, 0, 0]]
    np.testing.assert_allclose(own, [0.1, 0.1, 0.1])


# ---------------------------------------------------------------------------------------------------- pairs


def test_pairs_are_those_of_all_flips(brain, references, rng):
    more = joined(references, layers_of("other", random_rdms(rng, 3)))
    found = ranked(brain, more, n_splits=3)
    scores, pairs = found.scores, compared_pairs(found)
    assert list(pairs) == list(PAIR_COLUMNS)
    assert len(pairs) == 2 * 3
    cube = scores.pivot(index="subject", columns=["region", "model"], values="score")
    differences = np.stack(
        [cube[(row.region, row.model_a)] - cube[(row.region, row.model_b)] for row in pairs.itertuples()], axis=1
    )
    rows = pairs[["region", "model_a", "model_b"]].itertuples(index=False)
    drawn = [found.samples[(region, a)] - found.samples[(region, b)] for region, a, b in rows]
    errors = [error_of_mean(of, samples) for of, samples in zip(differences.T, drawn, strict=True)]
    np.testing.assert_allclose(pairs["t"], differences.mean(axis=0) / errors)
    p, corrected = oracles.flips_of_pairs(differences, np.abs(pairs["t"].to_numpy()))
    np.testing.assert_allclose(pairs["p"], p)
    np.testing.assert_allclose(pairs["p_corrected"], corrected)
    np.testing.assert_allclose(pairs["difference"], differences.mean(axis=0))
    assert (pairs["p_corrected"] >= pairs["p"]).all()
    assert ((pairs["lower"] < pairs["difference"]) & (pairs["difference"] < pairs["upper"])).all()


def test_a_pair_without_all_subjects_has_a_difference_and_no_p(brain, references):
    values = brain.values.copy()
    values[0] = np.nan
    pairs = compared_pairs(ranked(replace(brain, values=values), references, n_splits=2)).set_index("region")
    assert pairs["n_subjects"].to_dict() == {"EVC": 4, "IT": 5}
    assert np.isnan(pairs.loc["EVC", "p"])
    assert np.isfinite(pairs.loc["EVC", ["difference", "lower"]].to_numpy(dtype=float)).all()
    assert 0 < pairs.loc["IT", "p"] <= 1


def test_models_that_are_the_same_do_not_differ(brain, references):
    twin = replace(references.subset(np.arange(4)), table=references.table[:4].assign(model="twin"))
    pairs = compared_pairs(ranked(brain, joined(references, twin), n_splits=2)).set_index(["model_a", "model_b"])
    rows = pairs.loc[[("net", "twin")]]
    assert (rows[["difference", "lower", "upper"]] == 0).all(axis=None)
    assert rows[["t", "p", "p_corrected"]].isna().all(axis=None)
    assert pairs.loc[[("net", "pixels")], "p"].notna().all()


def test_one_model_or_one_subject_has_no_pairs(brain, references):
    alone = ranked(brain, references.subset(np.arange(4)), n_splits=2)
    assert len(compared_pairs(alone)) == 0
    one = ranked(brain.subset([0]), references, n_splits=2)
    assert compared_pairs(one)[["lower", "t", "p"]].isna().all(axis=None)


def test_intervals_of_gaps_are_not_known():
    assert np.isnan(mean_interval(np.array([0.1, np.nan, 0.2]), 0.95)).all()
    assert np.isnan(ranking.mean_interval(np.array([0.1]), 0.95)).all()


# ------------------------------------------------------------------------- the stage, the table, the figure


@pytest.fixture
def files(tmp_path, brain, references):
    """Files of RDMs as a study that has run leaves them; of one network it is known how large and how fast it is."""
    paths = {}
    for subject, rows in brain.table.groupby("subject").indices.items():
        paths[subject] = tmp_path / f"results/own/brain/sub-{subject}_rdms.h5"
        io.save(paths[subject], brain.subset(rows), {})
    models = [tmp_path / "results/own/models/model-net_rdms.h5", tmp_path / "results/own/references/ref-pixels_rdms.h5"]
    io.save(models[0], references.subset(np.arange(4)), {"source": {"n_parameters": 1_234_567}})
    io.save(models[1], references.subset([4]), {})
    (models[0].parent / "model-net_rdms_cost.json").write_text('{"forward_ms_per_picture": 12.345, "device": "cpu"}')
    return {"brain": list(paths.values()), "references": models}


def test_stage_writes_tables_with_their_dictionaries(tmp_path, files):
    stages.ranking(**files, output=tmp_path / "r.tsv", pairs=tmp_path / "p.tsv", ranking=Ranking(n_splits=2))
    table, pairs = (io.load_table(tmp_path / name) for name in ("r.tsv", "p.tsv"))
    assert list(table) == list(RANKING_COLUMNS) == list(json.loads((tmp_path / "r.json").read_text()))
    assert list(pairs) == list(PAIR_COLUMNS) == list(json.loads((tmp_path / "p.json").read_text()))
    sizes = dict(zip(table["model"], table["n_parameters"], strict=True))
    assert sizes["net"] == 1_234_567
    assert np.isnan(sizes["pixels"])
    assert forward_times(files["references"]) == {"net": "12.3 ms (cpu)"}
    files["references"][1].with_name("ref-pixels_rdms_cost.json").write_text("{}")
    assert forward_times(files["references"]) == {"net": "12.3 ms (cpu)"}


def test_people_read_scores_with_intervals_and_costs(brain, references):
    table = ranked(brain, references, n_splits=2).table.assign(n_parameters=[25_557_032, pd.NA] * 2)
    shown = ranking_table(table, {"net": "12 ms (cpu)"})
    first = shown.iloc[0]
    row = table.iloc[0]
    assert first["interval"] == f"{row['lower']:.3f} to {row['upper']:.3f}".replace("-", "\N{MINUS SIGN}")
    assert shown["parameters"].tolist() == ["25.6 M", ""] * 2
    assert sorted(shown["time per picture"]) == ["", "", "12 ms (cpu)", "12 ms (cpu)"]
    assert "left out" not in shown
    assert shown.loc[shown["model"] == "net", "chosen"].str.fullmatch(r"\d+%").all()
    assert unbroken(shown)["interval"].str.fullmatch(r"\S+\xa0to\xa0\S+").all()
    lines = written_table(shown).split("\n")
    assert len(lines) == 5
    assert lines[0].startswith("region  rank  model")
    assert "time per picture" not in ranking_table(table)


def test_the_verb_prints_what_is_kept_or_makes_it(tmp_path, files, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    subjects = [f"{number:02d}" for number in range(N_SUBJECTS)]
    brain = {"kind": "rdms", "subjects": subjects, "file": "rdms.npz", "regions": ["EVC", "IT"]}
    models = [{"architecture": "alexnet", "name": "net", "weights": "untrained"}]
    settings = {"study": "own", "stimuli": {"folder": "."}, "models": models, "brain": brain}
    settings |= {"references": [{"kind": "pixels", "name": "pixels"}], "ranking": {"n_splits": 2}}
    Path("own.yaml").write_text(yaml.safe_dump(settings))
    assert main(["rank", "own.yaml"]) == 0
    made = capsys.readouterr().out
    assert "in 2 random splits" in made
    assert "net \N{MINUS SIGN} pixels" in made
    assert "12.3 ms (cpu)" in made
    stages.ranking(
        **files,
        output=Path("results/own/ranking.tsv"),
        pairs=Path("results/own/ranking_pairs.tsv"),
        ranking=Ranking(n_splits=2),
    )
    Path("results/own/ranking.tsv").write_text(
        Path("results/own/ranking.tsv").read_text().replace("1234567", "9876543")
    )
    assert main(["rank", "own.yaml"]) == 0
    kept = capsys.readouterr().out
    assert kept.replace("9.88 M", "1.23 M") == made
    assert kept != made
    assert main(["rank", "own.yaml", "--ranking-n-splits", "3"]) == 0
    assert "in 3 random splits" in capsys.readouterr().out
    files["references"][1].unlink()
    Path("results/own/ranking.tsv").unlink()
    assert main(["rank", "own.yaml"]) == 2
    assert "run the study first, python -m rsa run own.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("n_subjects", [1, N_SUBJECTS])
def test_figure_shows_each_model_once_in_each_region(tmp_path, brain, references, n_subjects):
    few = brain.subset(brain.table["subject"].isin(sorted(set(brain.table["subject"]))[:n_subjects]).to_numpy())
    table = ranked(few, references, n_splits=2).table
    figure = ranking_dots(table)
    names = [[text.get_text() for text in axes.get_yticklabels()] for axes in figure.axes]
    for region, shown in zip(("EVC", "IT"), names, strict=True):
        rows = table[table["region"] == region]
        expected = [f"{row.model} ({row.layer})" if row.layer else row.model for row in rows.itertuples()]
        assert shown == expected
    dots = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_markersize() == 5]
    np.testing.assert_allclose(dots, table["score"][table["region"] == "EVC"])
    (path,) = ranking_figures(table, tmp_path)
    assert ("noise ceiling" in caption_of(path)) == (n_subjects > 1)
    assert figure.get_figwidth() <= PAGE
