"""Torch modules: patches, tokens, encoder, decoder and pooling.

Nothing here knows MNE or scikit-learn.
"""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_completion": ["Completed", "PARTS", "complete_recording", "stacked_weights"],
        "_interpolation": [
            "GaussianComponents",
            "covariance_interpolation",
            "field_interpolation",
            "fit_components",
            "time_interpolation",
            "wiener_interpolation",
        ],
        "_masked_transformer": [
            "LatentPredictor",
            "MaskedSignalNetwork",
            "MaskedSignalTransformer",
            "ModelConfig",
        ],
        "_pooling": [
            "ProjectionPooling",
            "MeanPooling",
            "Pooling",
            "SpacePooling",
            "TimePooling",
            "TokenPooling",
            "build_pooling",
            "fit_pooling",
        ],
        "_random_walk_experts": ["RandomWalkExperts", "balance_loss"],
        "_state_space": [
            "HybridConfig",
            "HybridStateSpace",
            "SelectiveStateSpace",
            "StateSpaceBlock",
            "StateSpacePredictor",
            "associative_scan",
        ],
        "_token_projection": ["fit_token_projection"],
        "backbone": [
            "Backbone",
            "BackboneConfig",
            "BaseBackbone",
            "LowRankLinear",
            "Reconstructor",
            "add_adapters",
            "check_reconstructs",
            "encoder_parameters",
            "freeze_encoder",
            "merge_adapters",
        ],
        "latent_sources": [
            "LatentSourceConfig",
            "LatentSourceNetwork",
            "bold",
            "convolve_at",
        ],
        "masking": [
            "BASELINE_REGULARIZATIONS",
            "LocalMasking",
            "Masks",
            "MixedMasking",
            "RandomMasking",
            "SpaceBlockMasking",
            "TimeBlockMasking",
            "draw_masks",
            "draw_masks_and_targets",
            "masked_r2",
        ],
        "participant_statistics": ["PersonStatistics", "Statistics"],
        "participant_transformer": [
            "BANDS",
            "ParticipantConfig",
            "ParticipantTransformer",
            "STATES",
            "TrialInputs",
            "Trials",
            "state_kind",
        ],
        "posterior_encoder": [
            "N_PARAMETERS",
            "PARAMETERS",
            "Parameter",
            "ParticipantPosterior",
            "PosteriorConfig",
            "PosteriorEncoder",
            "StateComponents",
            "StateWindows",
        ],
        "windows": [
            "EDGES",
            "NoiseAndCropping",
            "Scaled",
            "WindowArray",
            "WindowBatch",
            "band_powers",
            "check_edges",
            "from_patches",
            "sample_mask",
            "to_patches",
            "valid_patches",
            "window_statistics",
        ],
    },
)

#: What users are to rely on; the rest is for the other folders.
__all__ = [
    "Backbone",
    "Pooling",
    "RandomMasking",
    "SpaceBlockMasking",
    "TimeBlockMasking",
]
