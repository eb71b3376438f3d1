"""Models: no I/O beyond weights, no network."""
