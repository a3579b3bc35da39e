"""What the project tells about itself: logs."""
