"""Judges the encoders of motion: on synthetic heads with labels, and on photos in a closed loop."""
