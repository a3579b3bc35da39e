"""Grafana's dashboards as code: a module for each, what panels share in `panels`, their layout in `board`, their files in `files`."""
