"""The renderer stage."""
