"""Participants described one by one, once for many folds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ..inputs import Recordings
from ._level import LevelDescription, describe_people, read_people
from ._level_features import ParticipantLevel
from ._participants import Description, ParticipantPooling
from ._row_form import RowForm
from ._verbosity import use_verbose


class DescribesParticipants:
    """The part of a transformer that makes one row of each participant.

    Participants are described by the level over trials where there is one, and by
    statistics of their rows otherwise.
    """

    def _describe(
        self, recordings: Recordings
    ) -> list[Description] | list[LevelDescription]:
        return self._describe_states(self._read(recordings))

    def _read(self, recordings: Recordings) -> list[dict[str, Any]]:
        """Read what there is to know of each state of each participant by itself."""
        if self.level_ is not None:
            return read_people(
                self.level_,
                recordings,
                self.frontend_,
                self.config_,
                self.batch_size,
            )
        forms: list[RowForm | None] = [None] * recordings.n_rows
        for recording in recordings:
            form = RowForm.of(recording, self.config_)
            for row in recording.index:
                forms[row] = form
        parts = (
            (part.row, self._pool(part.tokens, part.recorded))
            for part in self._row_tokens(recordings)
        )
        return ParticipantPooling().describe(recordings, forms, parts)

    def _describe_states(
        self, people: list[dict[str, Any]]
    ) -> list[Description] | list[LevelDescription]:
        """Describe participants from what `_read` gave, of any states together."""
        if self.level_ is None:
            return people
        return describe_people(self.level_, people, evoked=self.append_evoked)

    def _read_states(self, X: Any) -> list[dict[str, Any]]:
        """Do the slow part of `describe`, from which states can be put together."""
        recordings = self._recordings(X)
        if getattr(self, "_loaded_for", None) != self._model_key():
            self._fit_model(recordings)
            self._warn_unused("participant")
        return self._read(recordings)

    def _fit_participants(self, descriptions: list[Description]) -> None:
        if self.level_ is not None:
            self._participants = ParticipantLevel(self.level_).fit(descriptions)
            # rows may have any length: what follows the stimulus counts
            self.n_patches_ = {}
        else:
            self._participants = ParticipantPooling().fit(descriptions)
            forms = self._participants.forms
            self.n_patches_ = {state: form.n_patches for state, form in forms.items()}
        self.states_ = self._participants.states

    def _is_frozen(self) -> bool:
        return self.max_epochs == 0

    @available_if(_is_frozen)
    @use_verbose
    def describe(self, X: Any) -> list[Description]:
        """Describe participants by frozen weights, each by itself.

        With `fit_described` and `transform_described` this is `fit` and `transform`
        in two parts: the first is slow and depends on one participant alone, so that
        it is done once for all folds of a cross-validation. The first call loads the
        weights.

        Parameters
        ----------
        X : list of Epochs | list of dict
            The participants.

        Returns
        -------
        descriptions : list of dict
            For each participant, from state to its description.

        See Also
        --------
        mne_megfm.evaluation.compare : Takes descriptions, as do `learning_curve` and
            `state_importance`.
        """
        return self._describe_states(self._read_states(X))

    @available_if(_is_frozen)
    def fit_described(
        self, descriptions: list[Description], y: Any = None
    ) -> DescribesParticipants:
        """Learn what `fit` learns from participants besides their weights.

        Parameters
        ----------
        descriptions : list of dict
            What `describe` gave for the training participants.
        y : None
            Ignored.

        Returns
        -------
        self : DescribesParticipants
            The transformer, with states and fills of these participants.

        Raises
        ------
        NotFittedError
            If `describe` was not called before.
        ValueError
            If a parameter of the model was changed since.
        """
        check_is_fitted(
            self, "model_", msg="Call describe(X), which loads the weights, first."
        )
        if self._loaded_for != self._model_key():
            raise ValueError(
                "Expected descriptions by the present parameters, got other parameters "
                "of the model since describe(X) was called; call it again."
            )
        self.unit_ = "participant"
        self._fit_participants(descriptions)
        return self

    @available_if(_is_frozen)
    def transform_described(
        self, descriptions: list[Description]
    ) -> NDArray[np.float32]:
        """Turn descriptions into features.

        Parameters
        ----------
        descriptions : list of dict
            What `describe` gave.

        Returns
        -------
        features : ndarray of float32, shape (n_participants, n_features_out)
            As `transform` gives.
        """
        check_is_fitted(self, "_participants")
        return self._participants.transform(descriptions)
