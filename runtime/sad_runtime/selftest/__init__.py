"""What `sad-runtime --selftest` looks at, one file a kind of check. Each check is a function that returns lines."""
