"""Trains the encoders of pose, dynamics, gaze and identity on synthetic heads."""
