"""Cameras: one file a kind, one base of three verbs."""
