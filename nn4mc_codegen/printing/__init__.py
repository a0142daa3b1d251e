"""Instructions become C: scheduled, given memory, printed through templates."""
