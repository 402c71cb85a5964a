"""Reading a live camera in a process of its own, which can be killed: what crosses to it and back."""
