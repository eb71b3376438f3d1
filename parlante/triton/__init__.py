"""The Triton server: its tensors, how it is found and run, and how it is called."""
