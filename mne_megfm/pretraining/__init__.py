"""Masked-signal pretraining: masks, objective, training loop, checkpoints."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_checkpoint_writer": ["draw_curves"],
        "_fitted_objectives": ["ContrastiveRegression", "TimeFrequencyCodes"],
        "_joint_objectives": [
            "LatentPrediction",
            "ParticipantConsistency",
            "WindowStatistics",
        ],
        "_objective": [
            "Objective",
            "build_objective",
            "fit_objective",
            "resolve_objective",
        ],
        "_participants": [
            "hide_trials",
            "participant_encoder_loss",
            "pretrain_participant_encoder",
        ],
        "_pretrain": ["pretrain", "pretrain_store"],
        "_reconstruction": [
            "BandBalancedReconstruction",
            "LogErrorLoss",
            "MaskedReconstruction",
            "SignalSpectrumLoss",
            "log_error_objective",
            "signal_spectrum_objective",
        ],
        "_run": ["History", "LostRankError", "find_damage"],
        "_settings": ["PretrainSettings"],
        "_trainer": ["StoppedError"],
    },
)

#: What users are to rely on; the rest is for the other folders.
__all__ = ["Objective", "PretrainSettings", "pretrain_store"]
