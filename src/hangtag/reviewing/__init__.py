"""Settle suspected mistakes: a page for people, their decisions, and the corrected catalogue."""
