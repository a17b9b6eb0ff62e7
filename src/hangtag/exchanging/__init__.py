"""Exchange issues, decisions and cleaned catalogues with other tools."""
