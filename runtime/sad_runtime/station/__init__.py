"""A station: the loop from frame to verdict (station.py), and one file a duty beside it."""
