"""What can go wrong with a part: one file a kind, the table of them, and how one is put on a part.

Every kind changes the physical description (shape, colour, shine, print) before any light falls on it. No
kind copies or blends picture patches: that is how training makes its own defects, and the two must differ.
"""
