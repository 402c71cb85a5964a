"""Training methods: one file each; `table.py` lists them."""
