"""One run from start to verdict: bring-up, processes, measuring, reporting."""
