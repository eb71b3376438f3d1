"""Training code: imports models, is never imported by a service."""
