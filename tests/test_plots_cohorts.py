"""Figures of covariates: what is drawn is what was given."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from medlab import plots
from medlab.cohorts import figures, vocabulary


@pytest.fixture(autouse=True)
def canvas():
    mpl.use("agg")
    with mpl.rc_context():
        plots.setup(synthetic=True)
        yield
        plt.close("all")


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    age = rng.normal(60, 10, 300)
    return pd.DataFrame({"age_years": age, "size_mm": age / 3 + rng.normal(0, 1, 300),
                         "sex": rng.choice(["f", "m"], 300), "smoker": rng.integers(0, 2, 300),
                         "stage": rng.integers(1, 5, 300),
                         "crp_mg_dl": np.where(rng.random(300) < 0.2, np.nan, rng.gamma(2, size=300)),
                         "label": pd.Categorical(rng.choice(["none", "benign"], 300), ["none", "benign", "malignant"])})


def marks(figure):
    return [t.get_text() for t in figure.texts if t.get_gid() == "medlab-mark"]


def test_numeric_covariates_that_vary_and_their_units(table):
    assert figures.numeric(table, table.columns) == ["age_years", "size_mm", "stage", "crp_mg_dl"]
    assert figures.numeric(table, ["crp_mg_dl", "nothing", "stage"], 1) == ["stage"]
    assert [vocabulary.labelled(c) for c in ("age_years", "crp_mg_dl", "stage", "share_percent", "tumour_stage",
                                               "smoking_pack_years")] == [
        "age (years)", "crp (mg/dL)", "stage", "share (%)", "tumour stage", "smoking (pack-years)"]


def test_distributions_show_each_patient_of_each_class(table):
    axes = figures.distributions(table, ["age_years", "crp_mg_dl"], by="label")
    assert [ax.get_xlabel() for ax in axes] == ["age (years)", "crp (mg/dL)"]
    counts = table["label"].value_counts()
    assert [t.get_text() for t in axes[0].get_yticklabels()] == [
        f"{name} (n = {counts[name]})" for name in ("none", "benign", "malignant")]
    drawn = [np.sort(c.get_offsets()[:, 0]) for c in axes[0].collections if len(c.get_offsets())]
    for name, points in zip(("none", "benign"), drawn, strict=True):
        np.testing.assert_allclose(points, np.sort(table.loc[table["label"] == name, "age_years"]))
    assert marks(axes[0].figure) == ["synthetic data · research use only"]
    axes[0].figure.canvas.draw()


def test_pairs_below_the_diagonal(table):
    axes = figures.pairs(table, ["age_years", "size_mm", "stage"], by="label")
    assert axes.shape == (3, 3) and axes[0, 1] is None
    assert axes[2, 0].get_xlabel() == "age (years)" and axes[1, 0].get_ylabel() == "size (mm)"
    points = axes[1, 0].collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 0], table["age_years"])
    assert marks(axes[0, 0].figure) == ["synthetic data · research use only"]
    plain = figures.pairs(table, ["age_years", "size_mm"])
    assert len(plain[1, 0].collections[0].get_offsets()) == len(table)


def test_correlations_are_those_of_scipy(table):
    from scipy.stats import spearmanr

    ax = figures.correlations(table, ["age_years", "size_mm", "crp_mg_dl"])
    both = table.dropna()
    expected = [spearmanr(table["age_years"], table["size_mm"])[0], spearmanr(both["age_years"], both["crp_mg_dl"])[0],
                spearmanr(both["size_mm"], both["crp_mg_dl"])[0]]
    assert [t.get_text() for t in ax.texts] == [f"{r:.2f}" for r in expected]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["age (years)", "size (mm)"]


def test_large_tables_are_sampled_and_the_same_each_time(table):
    many = pd.concat([table] * 10, ignore_index=True)
    drawn = [sum(len(c.get_offsets()) for c in figures.distributions(many, ["age_years"])[0].collections)
             for _ in range(2)]
    assert drawn == [figures.ROWS, figures.ROWS]


@pytest.mark.parametrize("draw, columns, words", [
    (figures.distributions, ["sex", "smoker"], "no numeric covariate"),
    (figures.pairs, ["sex"], "no numeric covariate"),
    (figures.pairs, ["age_years"], "needs two"), (figures.correlations, ["age_years", "sex"], "needs two"),
    (lambda table, columns: figures.distributions(table, columns, by="class"), ["age_years"], "no column 'class'"),
    (lambda table, columns: figures.distributions(table[:0], columns), ["age_years"], "no numeric covariate")])
def test_what_cannot_be_drawn_is_said(table, draw, columns, words):
    with pytest.raises(ValueError, match=words):
        draw(table, columns)


def test_seaborn_is_imported_by_its_figures_alone():
    code = "import sys; from medlab.cohorts import figures; assert 'seaborn' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
