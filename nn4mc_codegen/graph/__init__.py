"""The network as a graph, and what is asked of it."""
