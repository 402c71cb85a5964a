"""The edge runtime and the ground floor of the house: what a line needs, and nothing that needs torch."""
