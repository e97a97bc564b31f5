"""What a model is worth: predictions, figures, reports, and the operating point."""
