"""How well good and defect are told apart: per picture, per pixel, at the rates a line asks for. Free of torch."""
