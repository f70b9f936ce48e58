"""How Sphinx builds the documentation (`make doc`)."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import mne
from sphinx.util.nodes import make_refnode
from sphinx_gallery.sorting import ExplicitOrder

import mne_megfm

project = "mne-megfm"
author = "The mne-megfm contributors"
copyright = f"2026, {author}"  # noqa: A001
version = release = mne_megfm.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]
nitpicky = True
# Links to the pages of other projects need the network: only where that is asked for.
others = {
    "joblib": "https://joblib.readthedocs.io/en/stable/",
    "mne": "https://mne.tools/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "sklearn": "https://scikit-learn.org/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}
if os.environ.get("DOC_LINKS"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {name: (url, None) for name, url in others.items()}
nitpick_ignore = [("py:class", "click.Command"), ("py:data", "mne_megfm.models.STATES")]

# -- API ------------------------------------------------------------------------------
# `name` in a docstring is a link where that is a public name, and emphasis elsewhere
default_role = "autolink"
autodoc_default_options = {"members": True, "inherited-members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # types are in the text, as people say them
autosummary_generate = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False


def skip_foreign(app, what, name, obj, skip, options):
    """Leave out what a class has from other packages, as torch and scikit-learn."""
    home = getattr(getattr(obj, "fget", obj), "__module__", None) or ""
    return skip or (what == "class" and not home.startswith("mne_megfm"))


def find_reference(app, env, node, contnode):
    """Find public names by their last part; leave as text what names no object."""
    target = node["reftarget"]
    if target == "tut-logging" or target.startswith(tuple(f"{x}." for x in others)):
        return contnode  # pages of other projects
    if node.get("refdomain") != "py":
        return None
    page, anchor = "api", ""
    if node["reftype"] != "mod":
        objects = env.get_domain("py").objects
        found = [x for x in objects if x.endswith(f".{target.removeprefix('.')}")]
        found = [x for x in found if objects[x].objtype in ("class", "function")]
        if len(found) != 1:
            # backticks are also for parameters; a role must name what there is
            return contnode if node["reftype"] == "obj" else None
        page, anchor = objects[found[0]].docname, objects[found[0]].node_id
    return make_refnode(app.builder, node["refdoc"], page, anchor, contnode)


def setup(app):
    """Connect the hooks."""
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("missing-reference", find_reference, priority=900)


# -- gallery --------------------------------------------------------------------------
mne.set_log_level("error")
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "backreferences_dir": "generated/examples",
    "doc_module": ("mne_megfm",),
    "filename_pattern": r"plot_",
    "within_subsection_order": ExplicitOrder(
        [
            "plot_pipeline.py",
            "plot_public_data.py",
            "plot_participants.py",
            "plot_missing_states.py",
            "plot_other_system.py",
            "plot_grid_search.py",
            "plot_pretraining.py",
            "plot_reconstruction.py",
            "plot_compare.py",
            "plot_stories_to_sources.py",
            "*",
        ]
    ),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "min_reported_time": 3600,  # times are those of the machine, not of the example
    "parallel": int(os.environ.get("JOBS", "1")),
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
}

# -- pages ----------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = "mne-megfm"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "collapse_navigation": True,
    "footer_end": [],
    "footer_start": ["copyright"],
    "header_links_before_dropdown": 7,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
}
# pages of which none is below: a list beside them would be empty
_ALONE = """index install plugins design scaling glossary release api_stability
    model_card changes"""
html_sidebars = {name: [] for name in _ALONE.split()}
