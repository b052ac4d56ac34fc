"""`python -m orchestrator.cli`, where the command `bptt` is not on the path."""

from orchestrator.cli import main

main()
