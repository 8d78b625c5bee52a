"""What is made once for a corpus and read by everything: labels, benchmarks, models, the base and its evaluation."""
