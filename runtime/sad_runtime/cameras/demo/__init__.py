"""Rendered parts: pictures of good and defective parts, made by arithmetic, with exact masks.

They are product code: the `demo:` camera, `make demo`, the tests and the regression gate all use them.
`parts.py` is the door; `dataset.py` writes a folder of them.
"""
