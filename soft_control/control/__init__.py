"""Control laws and references, pure: Config, State, step; time is an argument."""
