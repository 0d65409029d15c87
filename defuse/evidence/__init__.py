"""From the tables of single cells to tables over seeds, and to verdicts on claims."""
