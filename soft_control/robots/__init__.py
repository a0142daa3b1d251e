"""What a robot is called, measured in and limited to: one class, which everything else asks."""
