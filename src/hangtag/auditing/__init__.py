"""Find what is wrong in a catalogue: labels, duplicates, combinations, spellings and pictures."""
