"""From probabilities to alerts: pure functions of what was seen and when; no I/O, no clock."""
