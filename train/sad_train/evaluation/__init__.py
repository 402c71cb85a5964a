"""`sad-evaluate`: how well runs, ONNX files and bundles tell good from defect; alone or side by side."""
