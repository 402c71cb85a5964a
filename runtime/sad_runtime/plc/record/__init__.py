"""The gateway's own record: what was written to whom, and when."""
