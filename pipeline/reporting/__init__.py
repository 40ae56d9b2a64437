"""What a person sees of a run: report, show, trace, why-not, diff."""
