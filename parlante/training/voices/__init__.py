"""Training of the network that hears whether there is a voice."""
