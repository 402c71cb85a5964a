"""Networks: one file each, no pretrained weights."""
