"""Judge rendered faces against the truth: held-out synthetic heads, photos, and the closed loop."""
