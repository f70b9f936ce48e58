"""Figures; each function returns a matplotlib figure, as MNE's do."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "_attention": ["plot_attention"],
        "_attribution": ["plot_attribution", "plot_importance", "plot_occlusion"],
        "_comparison": [
            "plot_comparison",
            "plot_learning_curve",
            "plot_reliability",
            "plot_roc",
        ],
        "_embedding": ["EmbeddingDisplay", "plot_embedding"],
        "_reconstruction": ["plot_reconstruction", "plot_training"],
    },
)
