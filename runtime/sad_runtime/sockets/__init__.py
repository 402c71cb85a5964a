"""The four sockets of the feed, one file a kind. `feed.py` opens them together; readers use `subscriber.py`."""
