"""Teach the reading of sound to hear a voice across a room, through noise or a telephone."""
