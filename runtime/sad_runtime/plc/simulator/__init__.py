"""`sad-plc simulate`: a PLC with a conveyor and a reject gate, as a real Modbus client of a running sad-plc.

    belt.py  the world: parts, encoder              program.py  the PLC's program, one scan after the other
    link.py  Modbus, beside the scan                tracking.py its queue of parts, by encoder
    score.py what became of each part, judged from the station's feed (witness.py) and the truth (truth.py)
    line.py  joins them                             view.py     shows them

Read program.py beside docs/plc/SadInspection.st: both are the same program.
"""
