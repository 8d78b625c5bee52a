"""The HTML pages: the report of a loop with its arms, and the page of the corpus."""
