"""The console commands of an edge box."""
