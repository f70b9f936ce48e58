"""The report: what is in it, that it is one file, and how it is written."""

import dataclasses
import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import pytest

from mne_megfm import MEGFMTransformer, make_report, simulate_cohort
from mne_megfm.interpret import (
    MASKS,
    attention_test,
    reconstruct,
    score_reconstruction,
)
from mne_megfm.pretraining import History
from mne_megfm.report import MEGFMReport
from mne_megfm.report._data import describe_data, revealed_parts, summarise
from mne_megfm.report._html import card, table
from mne_megfm.report._methods import provenance_parts
from mne_megfm.report._outcome import _gates, _statistics

NOT_A_DEVICE = "Not a diagnostic device"


class Page(HTMLParser):
    """Collect what a page loads and shows, section by section."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.images, self.tags, self.styles = [], [], [], []
        self.sections, self.titles, self.ids, self.links = [], {}, [], []
        self._in, self._heading = [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        if "src" in attrs:
            self.loaded.append(attrs["src"])
        if tag == "img":
            self.images.append(attrs)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "a":
            self.links.append(attrs["href"])
        if tag == "section" and "id" in attrs:
            self.sections.append(attrs["id"])
            self.titles[attrs["id"]] = []
        self._in.append(tag)

    def handle_endtag(self, tag):
        while self._in and self._in.pop() != tag:  # img, meta, br have no end
            pass

    def handle_data(self, data):
        if "style" in self._in[-1:]:
            self.styles.append(data)
        if "h3" in self._in[-1:] and self.sections:
            self.titles[self.sections[-1]].append(data)


@pytest.fixture(scope="module")
def cohort():
    """Return four simulated participants on 64 OPMs, one of whom lacks a state."""
    cohort = simulate_cohort(
        4,
        states=("auditory", "rest"),
        arrays=("opm64",),
        n_epochs=3,
        random_state=11,
    )
    del cohort[3].recordings["rest"]
    return cohort


@pytest.fixture(scope="module")
def full(cohort, comparison, tmp_path_factory):
    """Return a report of everything that it can show, its file, and what is in it."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    X = [person.recordings for person in cohort]
    recording = X[0]["auditory"]
    transformer = MEGFMTransformer().fit(recording)
    name, masking = next(iter(MASKS.items()))
    with pytest.MonkeyPatch.context() as monkeypatch:
        # how well signals are filled in has its own tests: less work is enough here
        monkeypatch.setattr("mne_megfm.models._completion._MOST_ROUNDS", 1)
        hidden = reconstruct(recording, transformer, masking, on="canonical")
        scores = score_reconstruction(
            recording, transformer, masks={name: masking}, n_draws=1
        )
    report = MEGFMReport("A <title>", "Simulated <note>.")
    # the order of calls is not that of the report
    history = History([1, 2], [1.0, 0.9], [0.8, 0.7], [1e-3, 1e-4])
    report.add_model(transformer, history=history)
    names = ["<script>alert(1)</script>", "1", "2", "3"]
    report.add_data(X, cohort.labels, names=names)
    report.add_groups(X, cohort.labels)
    features = np.random.default_rng(0).standard_normal((4, 5))
    columns = ["<img src=x onerror=alert(2)>", "b", "c", "d", "e"]
    report.add_features(features, cohort.labels, names=names, feature_names=columns)
    report.add_comparison(comparison)
    report.add_reconstruction({name: hidden}, scores)
    tested = attention_test(
        transformer, recording.average(), n_turns=8, n_surrogates=19
    )
    report.add_attention(tested)
    figure, _ = plt.subplots()
    report.add_figure(figure, "Mine <b>", 'Empty "axes"', section="why")
    report.save(path)
    return report, path, Page(path.read_text("utf-8"))


def test_sections_in_the_order_of_questions(full):
    """Whatever the order of calls; methods come last."""
    _, _, page = full
    assert page.sections == ["outcome", "people", "why", "data", "methods"]
    titles = page.titles
    assert titles["outcome"][:2] == ["At a threshold", "Has pretraining helped?"]
    assert titles["people"] == ["People, wrong and unsure first", "One by one"]
    assert titles["why"] == [
        "Features that differ most",
        "Averages and topographies",
        "Spectra",
        "Map of people",
        "Mine <b>",
    ]
    assert titles["data"] == [
        "Quality of recordings",
        "What was recorded",
        "Exclusions",
    ]
    assert titles["methods"] == [
        "What weights had seen",
        "Estimator",
        "Training",
        "Model card of megfm-tiny",
        "Reconstruction of hidden signals",
        "Attention of the encoder",
        "Versions",
    ]


def test_nothing_is_fetched_and_nothing_runs(full):
    """All is in the file; there are no scripts, and browsers are told to run none."""
    _, path, page = full
    assert page.images
    assert all(src.startswith("data:image/") for src in page.loaded)
    assert not {"script", "link", "object", "iframe", "form", "embed"} & set(page.tags)
    styles = " ".join(page.styles)
    assert "url(" not in styles and "@import" not in styles
    text = path.read_text("utf-8")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert f'http-equiv="Content-Security-Policy" content="{policy}"' in text


def test_links_lead_somewhere(full):
    """Those within the page."""
    _, _, page = full
    assert len(set(page.ids)) == len(page.ids)
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert {"outcome", "people", "why", "data", "person-1"} <= inside <= set(page.ids)


def test_pictures_have_words(full):
    """Each has a text of its own that says what is in it."""
    _, _, page = full
    texts = [image["alt"] for image in page.images]
    assert len(texts) == len(set(texts)) >= 12
    assert all(len(text) > 20 for text in texts if text != 'Empty "axes"')
    assert 'Empty "axes"' in texts


def test_names_are_escaped(full):
    """Nothing that users name is taken for HTML."""
    _, path, page = full
    text = path.read_text("utf-8")
    for name in (
        "<script>alert",
        "<img src=x",
        "<good>",
        "<32>",
        "<note>",
        "A <title>",
        "Mine <b>",
    ):
        assert name not in text
        assert name.replace("<", "&lt;").replace(">", "&gt;") in text


def test_what_readers_must_know(full):
    """It is no device, and data may be simulated; who is left out, and versions."""
    _, path, page = full
    text = path.read_text("utf-8")
    first = text.partition('<section id="outcome"')[0]
    assert NOT_A_DEVICE in first
    assert "Simulated &lt;note&gt;." in first
    assert "on MNE-Python" in first and "<img" in first
    assert "no label (n/a)" in text and "&lt;32&gt;" in text
    assert "Nadeau" in text and "mne-megfm" in text
    assert "random_state=7300000" in text  # the card of the bundled weights


def test_gates(comparison):
    """Four claims with results and reasons, and what else the features tell."""
    confounds = pd.DataFrame(
        [
            ("array", "<good>", 0.75, 0.5, 0.9, 0.5, 32, "16 small, 16 large"),
            ("person", "", *[np.nan] * 4, 0, "not tested: pass halves=True"),
        ],
        columns="target pipeline value low high chance n note".split(),
    )
    own = {"model": "<good>", "baselines": ["poor"], "seen_before": {"name": "mine"}}
    judged = dataclasses.replace(
        comparison, settings=comparison.settings | own, confounds=confounds
    )
    gates = _gates(judged)
    assert gates.count(">not tested<") == 3
    assert "not known: pretrained on mine" in gates
    assert "compared with poor, the only one" in gates
    (others,) = revealed_parts(judged)
    assert ">0.75 (0.50 to 0.90)</td>" in others.html
    assert "Person: not tested: pass halves=True." in others.html
    assert "no pretrained pipeline" in _gates(comparison)
    assert revealed_parts(comparison) == []


@pytest.mark.slow
def test_recording(cohort, monkeypatch):
    """What is computed of a recording is what the functions give, in one call too."""
    epochs = cohort[0].recordings["auditory"]
    transformer = MEGFMTransformer().fit(epochs)
    few = dict(list(MASKS.items())[:1])
    monkeypatch.setattr("mne_megfm.report._report.MASKS", few)
    report = make_report(recording=epochs, estimator=transformer, features=None)
    titles = Page(report.html).titles["methods"]
    assert "Reconstruction of hidden signals" in titles
    assert "Attention of the encoder" in titles
    scores = score_reconstruction(epochs, transformer, n_draws=1)
    html = report.html.partition("Reconstruction of hidden signals")[2]
    cells = re.findall(r"<td>(-?[\d.]+)</td>", html.partition("</table>")[0])
    np.testing.assert_allclose(
        np.array(cells, float).reshape(3, 5), scores, atol=0.0051
    )


# -- little or nothing -----------------------------------------------------------------
def test_nothing_given():
    """What is missing is said in words; card and versions are there all the same."""
    page = Page(make_report().html)
    assert page.titles["methods"] == ["Model card of megfm-tiny", "Versions"]
    for key in ("outcome", "people", "why", "data"):
        assert page.titles[key] == ["Not in this report"]
    html = make_report().html
    assert html.count("Not asked") == 4
    assert NOT_A_DEVICE in html


def test_what_is_added_is_no_longer_missing(cohort):
    """The page follows what is added, and what is added again replaces it."""
    report = MEGFMReport()
    assert "no recordings were added" in report.html
    report.add_data([person.recordings for person in cohort])
    assert "no recordings were added" not in report.html
    scores = pd.DataFrame({"model": [0.125]}, index=["something"])
    report.add_reconstruction(scores=scores)
    report.add_reconstruction(scores=scores)
    titles = Page(report.html).titles["methods"]
    assert titles.count("Reconstruction of hidden signals") == 1


def test_attention_without_a_test(cohort):
    """A map of attention can be shown as it is."""
    info = cohort[0].recordings["auditory"].info
    evoked = mne.EvokedArray(np.ones((64, 2)), info, tmin=0.05)
    report = MEGFMReport()
    report.add_attention({"mine": evoked})
    assert "Attention of the encoder" in Page(report.html).titles["methods"]


def test_map_of_people_by_what_is_given(cohort, rng):
    """By labels, or by what is passed."""
    features = rng.standard_normal((4, 5))
    report = MEGFMReport()
    report.add_features(features)
    assert "Map of people" not in report.html
    report.add_features(features, by={"site": list("aabb")})
    assert "coloured by site: a, b." in report.html
    html = make_report(y=cohort.labels, features=features).html
    assert "coloured by group" in html
    with pytest.raises(ValueError, match="y with one value a row of features"):
        report.add_features(features, ["a"])
    with pytest.raises(ValueError, match="name of its own for each participant"):
        report.add_features(features, names=list("aabc"))
    with pytest.raises(ValueError, match="name for each of 5 features"):
        report.add_features(features, feature_names=["a"])


def test_own_figures_need_words_and_a_section():
    report = MEGFMReport()
    figure, _ = plt.subplots()
    with pytest.raises(ValueError, match="in words"):
        report.add_figure(figure, "Mine", " ")
    with pytest.raises(ValueError, match="section among"):
        report.add_figure(figure, "Mine", "Axes", section="elsewhere")


def test_groups_must_be_two(cohort):
    X = [person.recordings for person in cohort]
    with pytest.raises(ValueError, match="a label for each of 4"):
        MEGFMReport().add_groups(X, ["a", "b"])
    with pytest.raises(ValueError, match="two labels"):
        MEGFMReport().add_groups(X, list("abca"))


# -- data ------------------------------------------------------------------------------
def test_data_are_counted(cohort):
    X = [person.recordings for person in cohort]
    found = describe_data(X, [*cohort.labels[:3], None], cohort.names)
    assert found.index.to_list() == cohort.names.tolist()
    assert found["label"].to_list() == [*cohort.labels[:3], "n/a"]
    assert set(found["array"]) == {"64 magnetometers"}
    assert found["auditory"].to_list() == [3, 3, 3, 3]
    assert found["rest"].to_list() == [3, 3, 3, 0]
    np.testing.assert_allclose(found["minutes"] * 60.0, [6.0, 6.0, 6.0, 3.0])
    counts = summarise(found).set_index("label")
    assert counts.loc["n/a", "rest: participants"] == 0
    assert counts["participants"].sum() == 4
    assert counts.loc["control", "rest: rows, median"] == 3
    with pytest.raises(ValueError, match=r"names with one value a participant \(4\)"):
        describe_data(X, names=["a"])


def test_bad_channels_make_no_array(cohort):
    """One system is one array, whoever has bad channels, which are counted."""
    X = [dict(person.recordings) for person in cohort]
    for number in range(3):
        epochs = X[number]["auditory"].copy()
        epochs.info["bads"] = epochs.ch_names[: number + 1]
        X[number]["auditory"] = epochs
    found = describe_data(X, ["a", "a", None, "a"])
    assert set(found["array"]) == {"64 magnetometers"}
    assert found["bad channels"].to_list() == [1, 2, 3, 0]
    counts = summarise(found).set_index("label")
    assert len(counts) == 2
    assert counts.loc["a", "bad channels, median"] == 1


def test_table():
    """Numbers are rounded, counts are whole, what is missing is a dash."""
    frame = pd.DataFrame(
        {"n": [1.0, 2.0], "x": [0.12345, np.nan], "w": ["<a>", None]},
        index=pd.Index(["p", "q"], name="name"),
    )
    html = table(frame, digits=2)
    cells = re.findall(r"<t[dh](?: scope=.row.)?(?: class=.word.)?>(.*?)</t[dh]>", html)
    assert cells[-8:] == ["p", "1", "0.12", "&lt;a&gt;", "q", "2", "–", "–"]


def test_card_brings_nothing_along():
    """HTML and pictures of a card from elsewhere are shown as text."""
    text = "# T\n\n| a |\n|---|\n| 1 |\n\n<script>x</script> ![p](http://x.org/p.png)"
    html = card(text)
    assert "<table>" in html and "<h1>" in html
    assert "<script" not in html and "<img" not in html


# -- writing ---------------------------------------------------------------------------
def test_file_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        make_report(path)
    assert path.read_text() == "old"
    with pytest.raises(ValueError, match=r"ends with .html, got 'report.pdf'"):
        make_report(tmp_path / "report.pdf")
    with pytest.raises(FileNotFoundError, match="make it first"):
        make_report(tmp_path / "none" / "report.html")
    report = make_report(path, overwrite=True)
    assert NOT_A_DEVICE in path.read_text("utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert report.fname == str(path)


def test_interrupted_writing_leaves_the_old_report(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(_):  # after the page was written aside
        raise OSError("disk full")

    report = make_report()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        report.save(path, overwrite=True)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_what_weights_had_seen(comparison):
    """It is a short table: pipelines that share weights once, long lists not at all."""
    counts = [{"participant": f"p{n}", "state": "rest"} for n in range(500)]
    seen = {
        "name": "own",
        "data": "store X",
        "participants": 500,
        "hours": 20.0,
        "counts": counts,
    }
    both = {name: seen for name in comparison.pipelines}
    other = type(comparison)(**{**vars(comparison), "provenance": both})
    (part,) = provenance_parts(other)
    found, html = part.html, part.html + _statistics(other)
    text = "own (store X, 500 participants, 20 hours, states rest)"
    assert found.count(text) == 1
    assert "&lt;good&gt;, poor" in found
    assert "p499" not in html
    assert "had seen: " not in html
    none = dict.fromkeys(comparison.pipelines)
    other = type(comparison)(**{**vars(comparison), "provenance": none})
    assert provenance_parts(other) == []


def test_columns_without_values_are_left_out(comparison):
    """Without permutations, the table of results has no columns for them."""
    empty = set(comparison.summary().columns[comparison.summary().isna().all()])
    assert {"permuted", "p_permuted"} <= empty
    html = _statistics(comparison)
    assert "p (permutation)" not in html and "mean with permuted labels" not in html
    assert "95 % by chance from" in html
