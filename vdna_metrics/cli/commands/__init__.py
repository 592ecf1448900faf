"""What each command takes; what it does is imported when its arguments have been read."""
