"""Parlante: one portrait and a live voice become a live talking face."""

__version__ = "0.1.0"
