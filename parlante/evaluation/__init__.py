"""Judges talking faces in finished videos; nothing that is served imports it.

A video, ours or a rival's, becomes curves of a face over time (`tracking`), its sound becomes
phones (`aligner`); each other module holds one kind of measure, and `motion` puts them together.
"""
