"""One file a chapter of the page: each takes the inputs and gives the values that its template shows."""
