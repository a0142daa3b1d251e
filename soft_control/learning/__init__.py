"""Recordings become a network: read, excite, calibrate, train, judge."""
