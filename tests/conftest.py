"""What several test files share: a small bundle on disk, made without torch."""
