"""The scalable stages."""
