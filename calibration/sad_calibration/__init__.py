"""Thresholds from good parts only. Never imports torch."""
