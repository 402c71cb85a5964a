"""Modbus/TCP: a server that PLCs come to, and a client that goes to a PLC."""
