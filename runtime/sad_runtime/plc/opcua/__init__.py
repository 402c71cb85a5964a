"""An OPC UA server, over asyncua; `way.py` is the Plc, everything else is loaded when it opens."""
