"""Audio, image and video framing; no model and no network."""
