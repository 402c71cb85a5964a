"""Activation ranges for INT8: how large each tensor of the fp32 graph gets over good parts and anomalies."""
