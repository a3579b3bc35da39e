"""`python -m litgo_pipelines.cli` is `litgo`."""

from litgo_pipelines.cli import main

main()
