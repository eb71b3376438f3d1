"""Training data from a folder of talking videos: measured, cleaned, turned into motion latents."""
