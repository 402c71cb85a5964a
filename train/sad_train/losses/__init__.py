"""Losses: one file each, its paper named."""
