"""Synthetic talking heads with exact labels, for training; docs/synthetic-heads.md tells more."""
