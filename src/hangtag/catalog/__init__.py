"""Bring a catalogue in: read its table, check and pack its photographs."""
