"""Review suspected label errors: the web page, the reviewers' decisions, and the corrected catalogue."""
