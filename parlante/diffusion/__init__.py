"""Diffusion: schedule, sampler and guidance."""
