"""`litgo experiment`: a candidate against the champion on a share of the clients."""
