"""Inference engines: one file a kind, one base of four verbs."""
