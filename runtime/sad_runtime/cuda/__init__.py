"""CUDA memory and streams for engines on an NVIDIA GPU: one package a file, one base of few verbs."""
