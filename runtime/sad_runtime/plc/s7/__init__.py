"""Into data blocks of a Siemens S7, over python-snap7."""
