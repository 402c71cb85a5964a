"""What a station keeps: a row a decision in SQLite, and pictures of what did not pass."""
