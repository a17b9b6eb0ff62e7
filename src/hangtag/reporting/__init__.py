"""The HTML report: what its chapters show, the charts, and the templates of the page."""
