"""Files of the live page and the runbook, served as they are."""
