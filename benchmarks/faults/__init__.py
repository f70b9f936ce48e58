"""Faults that are made on purpose, for ``bench_faults.py``."""
