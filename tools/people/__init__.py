"""Simulated people of many kinds, to train the posterior encoder on.

`_bank` precomputes fields of sources of many heads in many arrays, `_simulator` draws
whole people from them, `_training` trains the encoder of
`mne_megfm.models.posterior_encoder`. See README.md in this folder.
"""
