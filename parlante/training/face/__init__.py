"""Training of the face network: synthetic heads, photos and talking videos as pairs of pictures."""
