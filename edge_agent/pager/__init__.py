"""What staff hold in their hands."""
