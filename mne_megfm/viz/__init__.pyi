from ._comparison import (
    plot_comparison as plot_comparison,
    plot_learning_curve as plot_learning_curve,
    plot_reliability as plot_reliability,
    plot_roc as plot_roc,
)
from ._embedding import (
    EmbeddingDisplay as EmbeddingDisplay,
    plot_embedding as plot_embedding,
)
from ._groups import (
    plot_decision_curve as plot_decision_curve,
    plot_group_averages as plot_group_averages,
    plot_group_differences as plot_group_differences,
    plot_group_spectra as plot_group_spectra,
    plot_people as plot_people,
    plot_scores as plot_scores,
)
from ._maps import (
    plot_attention as plot_attention,
    plot_attribution as plot_attribution,
    plot_experts as plot_experts,
    plot_importance as plot_importance,
    plot_occlusion as plot_occlusion,
)
from ._reconstruction import (
    plot_reconstruction as plot_reconstruction,
    plot_training as plot_training,
)
