"""What can be run from the shell with ``python -m mne_megfm.commands.<name>``."""
