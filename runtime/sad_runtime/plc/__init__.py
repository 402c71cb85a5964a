"""`sad-plc`: from the ZeroMQ feed to a PLC that rejects by default. docs/plc.md tells it to the PLC programmer.

    feed -> gate.py (pure: results, handshake, faults) -> Status -> one file a protocol -> PLC
    PLC  -> CommandBlock -> gate.py -> orders.py -> the station's command socket

Imports neither numpy nor OpenCV: a gateway box needs neither.
"""
