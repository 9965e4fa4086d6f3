"""Benchmarks: each module prints one table and writes JSON to ``bench/results``. ``python -m bench`` runs all."""
