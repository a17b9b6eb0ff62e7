"""The local web application of `hangtag app`: choose a catalogue, check it, review it, and take the corrected file."""
