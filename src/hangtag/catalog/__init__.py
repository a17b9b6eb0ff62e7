"""Read a catalogue's table, and check, decode and pack its photographs."""
