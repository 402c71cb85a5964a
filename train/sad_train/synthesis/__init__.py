"""Synthetic anomalies on numpy arrays: one generator or one step a file. No torch."""
