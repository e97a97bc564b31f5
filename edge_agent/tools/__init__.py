"""What an operator runs beside the daemon: doctor, privacy audit, fleet table, classify, evaluate, bench, notice."""
