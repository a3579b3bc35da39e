"""Who is the best match: features, labels, training, calibration, evaluation. No database, no registry, no load of anybody."""
