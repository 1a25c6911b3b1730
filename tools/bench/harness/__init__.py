"""What the measuring tools share: services, binaries, runs, judgement, figures, plots."""
