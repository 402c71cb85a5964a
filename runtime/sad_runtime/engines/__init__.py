"""TensorRT engines of one box: built from a bundle's ONNX file, kept in a cache, found again at the next start."""
