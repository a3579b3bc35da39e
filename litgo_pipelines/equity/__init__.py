"""Who should get the next case: capacity, load, inequality, allocation. Pure functions of arrays; nothing here does I/O."""
