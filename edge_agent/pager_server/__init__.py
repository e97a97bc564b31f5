"""The server of the page for phones: who is on which shift, what became of each page, and how phones are reached."""
