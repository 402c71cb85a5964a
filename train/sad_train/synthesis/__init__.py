"""Synthetic anomalies: one generator or one step a file. On numpy arrays without torch, but for *_batched.py."""
