"""The host's end of the wire to the microcontroller. docs/protocol.md is the specification."""
