"""From a checkpoint to ONNX, through the parity gate, into a bundle."""
