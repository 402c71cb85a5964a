"""Training, torch's home: data, synthesis, methods, losses, the loop, evaluation."""
