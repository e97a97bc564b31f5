"""Numbers about many visits, nothing about one: scores, drift, summaries, proposed thresholds."""
