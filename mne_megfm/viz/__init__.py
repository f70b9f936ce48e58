"""Figures; each function returns a matplotlib figure, as MNE's do."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach_stub(__name__, __file__)

#: What users are to rely on; the rest is for the other folders.
__all__ = [
    "plot_attention",
    "plot_attribution",
    "plot_comparison",
    "plot_decision_curve",
    "plot_embedding",
    "plot_experts",
    "plot_group_averages",
    "plot_group_differences",
    "plot_group_spectra",
    "plot_importance",
    "plot_learning_curve",
    "plot_occlusion",
    "plot_people",
    "plot_reconstruction",
    "plot_reliability",
    "plot_roc",
    "plot_scores",
    "plot_training",
]
