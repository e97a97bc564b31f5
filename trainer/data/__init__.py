"""Faces, from the published files to what a network is trained on."""
