"""The motion stage."""
