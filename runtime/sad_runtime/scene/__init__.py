"""The scene guard: is this a picture that the model can judge at all? Asked before the model, told after it."""
