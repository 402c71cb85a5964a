"""What the people who run a line see of a station besides its feed: metrics, logs, and the service manager's view."""
