"""`litgo metrics`: what is measured, and the collector that shows it to Prometheus."""
