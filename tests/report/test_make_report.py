"""The report: what is in it, that it is one file, and how it is written."""

import dataclasses
import re
from html.parser import HTMLParser

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
from mne_megfm.report._html import card, describe_data, summarise, table

NOT_A_DEVICE = "Not a diagnostic device"


class Links(HTMLParser):
    """Collect what a page loads, and the names of its sections."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.styles, self.titles, self.scripts = [], [], [], []
        self._in = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self._in = tag
        if "src" in attrs:
            self.loaded.append(attrs["src"])
        if tag in ("link", "object", "use"):
            self.loaded.append(attrs.get("href") or attrs.get("data") or "")
        if "style" in attrs:
            self.styles.append(attrs["style"] or "")

    def handle_endtag(self, tag):
        self._in = None

    def handle_data(self, data):
        if self._in == "style":
            self.styles.append(data)
        if self._in == "script":
            self.scripts.append(data)


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
    """Return a report of everything that it can show, and its file."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    X = [person.recordings for person in cohort]
    recording = X[0]["auditory"]
    transformer = MEGFMTransformer().fit(recording)
    name, masking = next(iter(MASKS.items()))
    hidden = reconstruct(recording, transformer, masking, on="canonical")
    report = MEGFMReport("A <title>", "Simulated <note>.")
    # the order of calls is not that of the report
    history = History([1, 2], [1.0, 0.9], [0.8, 0.7], [1e-3, 1e-4])
    report.add_model(transformer, history=history)
    report.add_data(X, cohort.labels, names=["<b>sub-1</b>", *cohort.names[1:]])
    report.add_comparison(comparison)
    scores = score_reconstruction(
        recording, transformer, masks={name: masking}, n_draws=1
    )
    report.add_reconstruction({name: hidden}, scores)
    tested = attention_test(transformer, recording.average(), n_turns=8)
    report.add_attention(tested)
    features = np.random.default_rng(0).standard_normal((4, 5))
    report.add_participants_map(features)
    report.add_html("<p>mine</p>", "Mine", section="Own")
    report.save(path)
    return report, path


def _titles(report):
    """Titles of the contents, by section."""
    found = {}
    for element in report._content:
        found.setdefault(element.section, []).append(element.name)
    return found


def test_sections_in_order(full):
    """Each input has its section, with figures."""
    report, _ = full
    titles = _titles(report)
    assert list(titles) == [
        "About",
        "Data",
        "Reconstruction",
        "Attention",
        "Comparison",
        "Map of participants",
        "Calibration",
        "Model",
        "Own",
        "Versions",
    ]
    assert titles["Data"] == ["Overview", "Participants", "Exclusions"]
    assert titles["Reconstruction"] == ["Scores", "Hidden: random 80 %"]
    assert titles["Model"] == ["Estimator", "Training", "Model card of megfm-tiny"]
    assert titles["Calibration"][-1] == "Reliability"
    figures = "".join(report.html).count("<img")
    assert figures == 1 + 1 + 2 + 2 + 1 + 1


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
    report = MEGFMReport()
    report.add_comparison(judged)
    assert _titles(report)["Comparison"][:2] == [
        "Gates",
        "What else can be read from the features",
    ]
    gates, others = [
        element.html for element in report._content if element.section == "Comparison"
    ][:2]
    assert gates.count("not tested") == 3
    assert "not known: pretrained on mine" in gates
    assert "compared with poor, the only one" in gates
    assert "<td class=word>0.75 (0.50 to 0.90)</td>" in others
    assert "Person: not tested: pass halves=True." in others
    report = MEGFMReport()
    report.add_comparison(comparison)
    assert "no pretrained pipeline" in "".join(report.html)
    assert "What else" not in "".join(report.html)


def test_file_loads_nothing(full):
    """Scripts, styles, fonts and pictures are all in the file."""
    _, path = full
    links = Links(path.read_text("utf-8"))
    outside = [src for src in links.loaded if not src.startswith("data:")]
    assert links.loaded and not outside
    styles = " ".join(links.styles)
    assert "@font-face" in styles
    targets = re.findall(r"url\(\s*[\"']?([^\"')]{0,20})", styles)
    assert targets and all(target.startswith("data:") for target in targets)
    assert not re.search(r"@import", styles)


def test_what_readers_must_know(full):
    """It is no device, and data may be simulated; who is left out, and versions."""
    report, _ = full
    about = report.html[0]
    assert NOT_A_DEVICE in about
    assert "Simulated &lt;note&gt;." in about
    assert "Without explanations: neither maps" in about
    text = "".join(report.html)
    assert "no label (n/a)" in text and "&lt;32&gt;" in text
    assert "Nadeau" in text and "mne-megfm" in text
    assert "random_state=7300000" in text  # the card of the bundled weights


def test_names_are_escaped(full):
    """Nothing that users name is taken for HTML."""
    _, path = full
    text = path.read_text("utf-8")
    assert "&lt;b&gt;sub-1&lt;/b&gt;" in text
    for tag in ("<b>sub-1", "<good>", "<32>", "<note>"):
        assert tag not in text.replace("\\u003c", "<")


@pytest.mark.slow
def test_recording(cohort, monkeypatch):
    """What is computed of a recording is what the functions give, in one call too."""
    epochs = cohort[0].recordings["auditory"]
    transformer = MEGFMTransformer().fit(epochs)
    few = dict(list(MASKS.items())[:1])
    monkeypatch.setattr("mne_megfm.report._report.MASKS", few)
    report = make_report(recording=epochs, estimator=transformer, features=None)
    assert isinstance(report, MEGFMReport)
    titles = _titles(report)
    assert titles["Reconstruction"] == ["Scores", f"Hidden: {next(iter(few))}"]
    assert titles["Attention"] == ["How to read it", "Attention on the head"]
    scores = score_reconstruction(epochs, transformer, n_draws=1)
    (html,) = [e.html for e in report._content if e.name == "Scores"]
    cells = re.findall(r"<td>(-?[\d.]+)</td>", html)
    np.testing.assert_allclose(
        np.array(cells, float).reshape(3, 5), scores, atol=0.0051
    )


def test_pictures_are_whole(full):
    """Pictures have the shape of their figures; a sheared one has lost a column."""
    import base64
    import io

    from PIL import Image

    report, _ = full
    found = re.findall(r'src="data:image/\w+;base64,([^"]+)"', "".join(report.html))
    shapes = [Image.open(io.BytesIO(base64.b64decode(x))).size for x in found]
    # the map of participants: 4.3 by 3.9 inches, at 110 pixels an inch
    assert (473, 429) in shapes


# -- little or nothing -----------------------------------------------------------------
def test_nothing_given():
    """What is missing is said in words; card and versions are there all the same."""
    report = make_report()
    assert list(_titles(report)) == ["About", "Model", "Versions"]
    about = report.html[0]
    for name in ("data", "reconstruction", "attention", "comparison", "calibration"):
        assert f"Without {name}: " in about
    assert NOT_A_DEVICE in about


def test_what_is_added_is_no_longer_missing(cohort):
    """The first section follows what is added, and is there once."""
    report = MEGFMReport()
    assert "Without data: " in report.html[0]
    report.add_data([person.recordings for person in cohort])
    about = report.html[0]
    assert "In this report: data, versions." in about
    assert "Without data: " not in about and "Without model: " in about
    assert _titles(report)["About"] == ["What this is"]
    scores = pd.DataFrame({"model": [0.125]}, index=["something"])
    report.add_reconstruction(scores=scores)
    assert _titles(report)["Reconstruction"] == ["Scores"]


def test_attention_without_a_test(cohort):
    """A map of attention can be shown as it is."""
    info = cohort[0].recordings["auditory"].info
    evoked = mne.EvokedArray(np.ones((64, 2)), info, tmin=0.05)
    report = MEGFMReport()
    report.add_attention({"mine": evoked})
    assert _titles(report)["Attention"][-1] == "Attention on the head"


def test_map_of_participants_by_what_is_given(cohort, rng):
    """Without data, labels are asked for; with y alone, they are taken."""
    features = rng.standard_normal((4, 5))
    report = MEGFMReport()
    with pytest.raises(ValueError, match="call add_data first, or pass by"):
        report.add_participants_map(features)
    assert "Map of participants" not in _titles(report)
    report.add_participants_map(features, {"site": list("aabb")})
    assert "Participants by site" in _titles(report)["Map of participants"]
    report = make_report(y=cohort.labels, features=features)
    assert "Participants by group" in _titles(report)["Map of participants"]


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
    cells = re.findall(r"<td(?: class=word)?>(.*?)</td>", table(frame, digits=2))
    assert cells == ["p", "1", "0.12", "&lt;a&gt;", "q", "2", "–", "–"]


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

    def save(self, fname, **kwargs):
        fname.write_text("half of")
        raise OSError("disk full")

    monkeypatch.setattr(mne.Report, "save", save)
    with pytest.raises(OSError, match="disk full"):
        make_report(path, overwrite=True)
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
    html = "".join(make_report(comparison=other).html)
    assert "calibration" in html.partition("Without")[0]
    found = html.partition("What weights had seen")[2].partition("</table>")[0]
    text = "own (store X, 500 participants, 20 hours, states rest)"
    assert found.count(text) == 1
    assert "&lt;good&gt;, poor" in found
    assert "p499" not in html
    assert "had seen: " not in html
    none = dict.fromkeys(comparison.pipelines)
    other = type(comparison)(**{**vars(comparison), "provenance": none})
    assert "What weights had seen" not in "".join(make_report(comparison=other).html)


def test_columns_without_values_are_left_out(comparison):
    """Without permutations, the table of results has no columns for them."""
    empty = set(comparison.summary().columns[comparison.summary().isna().all()])
    assert {"permuted", "p_permuted"} <= empty
    html = "".join(make_report(comparison=comparison).html)
    assert "p (permutation)" not in html and "mean with permuted labels" not in html
    assert "95 % by chance from" in html
