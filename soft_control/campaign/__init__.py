"""Many runs in process, on many cores: rigs x references x controllers x disturbances x seeds.

A plan (config/campaigns/) says which; docs/campaigns.md says what comes of it.
"""
