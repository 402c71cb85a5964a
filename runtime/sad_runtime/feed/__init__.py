"""The feed over ZeroMQ: sockets, heartbeat, replay, and what a subscriber needs to miss nothing."""
