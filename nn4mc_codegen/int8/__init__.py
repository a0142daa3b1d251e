"""Networks in int8: quantised after training or read so, and their C."""
