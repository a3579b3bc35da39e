"""`litgo model`: which versions there are, who decided what about them and why."""
